"""`koco top`: a live view in the terminal, made with textual, which nothing else imports.

`facts` fetches and computes what is shown and knows nothing of the screen. `app` is the screen.
"""
