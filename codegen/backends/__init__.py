"""Where a program runs. Each module here turns the same printed body into something that can be launched."""
