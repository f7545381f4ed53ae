from kodosumi.core import ServeAPI

app = ServeAPI()
