"""What is measured of each shower, while the showers stream by."""
