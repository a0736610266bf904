"""From ISIC archives to a model bundle. Never imports the web app."""
