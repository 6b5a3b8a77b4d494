"""May the figures of a sample be trusted, and are its showers new?"""
