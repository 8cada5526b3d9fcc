"""The mathematics that several chapters share; imports third-party libraries only."""
