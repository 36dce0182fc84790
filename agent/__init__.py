"""The agent: a sidecar that ships a spool directory to a receiver, every byte once.

``ml-logger-agent --config agent.yaml`` starts it; `ml_logger.agent.shipper.Shipper.ship_once` is its synchronous core.
"""
