"""What to run for the studies of this project, and on what. No loop and no drawing lives here."""
