"""One module per broker; `weft.events.broker.open_broker` loads the one in use."""
