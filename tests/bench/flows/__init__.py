"""The service that the bench deploys: its project directory is this package's own."""
