"""``make demo``: the main job on the guide's own topology, with a real engine, real probes and a real Prometheus.

The order of the parts, each of which knows only those before it::

    process, ledger     programs, and what was made (so that it can be unmade, even after a kill -9)
    namespace, engine   a Docker engine that has no way out
    internet            203.0.113.10, the only outside there is, and the record of what arrived there
    images, world       the guide's networks, volumes and containers
    agent, metrics      the enforcer under test, and what it counts
    prometheus          the scraper, with the shipped rules
    story, play         the steps as a table, and the one who plays them
"""
