# The agent of one machine keeps its node's entry, and its instances' checks, up to date:
#   node=<name> envsubst < agent.hcl | consul acl policy create -name mesh-agent-<name> -rules -

node "${node}" {
  policy = "write"
}

service_prefix "" {
  policy = "read"
}
