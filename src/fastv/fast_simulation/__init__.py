"""Fast simulation inside Geant4: particles that enter the calorimeter are generated, the others simulated."""
