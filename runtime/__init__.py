"""The one place that wires: settings, command line, embedded servers, simulator."""
