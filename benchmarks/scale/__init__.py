"""How cost grows with objects, connections and workers."""
