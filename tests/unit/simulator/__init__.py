"""Tests of the room `simulator`: the simulated upstream is what its clients take it for."""
