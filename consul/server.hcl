# One of the Consul servers (three or five) of a production cluster:
#   consul agent -config-file=server.hcl -retry-join=<another server> -encrypt=<consul keygen>
# Works unchanged from Consul 1.8 on. TLS is the operator's: its settings have changed names between releases.

server           = true
bootstrap_expect = 3
data_dir         = "/consul/data"

# Nobody calls a server but agents; whoever wants the HTTP API asks the agent of its own machine.
client_addr = "127.0.0.1"

# Without a token nothing is visible: see policies/.
acl {
  enabled                  = true
  default_policy           = "deny"
  down_policy              = "extend-cache"
  enable_token_persistence = true
}

performance {
  raft_multiplier = 1
}

enable_script_checks = false

telemetry {
  disable_hostname          = true
  prometheus_retention_time = "60s"
}
