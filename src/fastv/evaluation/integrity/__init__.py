"""May the numbers of a sample be trusted, and are its showers new?"""
