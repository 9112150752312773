"""What a miss costs: a cold body that many wait for, and many small cold objects."""
