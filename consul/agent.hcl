# The Consul agent every machine runs next to its instances, and next to the control plane:
#   consul agent -config-file=agent.hcl -retry-join=<a server> -encrypt=<the cluster's key>
# Its own token (policies/agent.hcl) is set once with `consul acl set-agent-token agent <token>` and kept in data_dir.

server   = false
data_dir = "/consul/data"

# Instances register with the agent of their own machine, which also runs their checks.
client_addr = "127.0.0.1"

acl {
  enabled                  = true
  default_policy           = "deny"
  down_policy              = "extend-cache"
  enable_token_persistence = true
}

# The control plane keeps one connection open per service it watches; the default is 200 per client.
limits {
  http_max_conns_per_client = 1000
}

enable_script_checks = false

telemetry {
  disable_hostname          = true
  prometheus_retention_time = "60s"
}
