"""Full simulation: real Geant4, from one machine to a cluster."""
