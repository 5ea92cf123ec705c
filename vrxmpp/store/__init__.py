"""What must survive a restart: one typed store per concern, on SQLAlchemy Core."""
