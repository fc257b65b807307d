# The instances of one service register and deregister themselves, and no others:
#   service=<name> envsubst < service.hcl | consul acl policy create -name mesh-<name> -rules -
# One token per service; the token reaches a process as WEFT_REGISTRY_TOKEN.

service "${service}" {
  policy = "write"
}
