-- Prosody with the modules of a usual deployment; no throttles ("limits" is left out).
run_as_root = true
daemonize = false
pidfile = "$directory/prosody.pid"
data_path = "$directory/data"
network_backend = "epoll"
log = { info = "$directory/prosody.log" }
modules_enabled = {
	"disco"; "roster"; "saslauth"; "tls"; "blocklist"; "bookmarks"; "carbons"; "pep"; "private"; "smacks";
	"vcard4"; "vcard_legacy"; "csi"; "csi_simple"; "offline"; "ping"; "time"; "uptime"; "version"; "posix";
	"loopback_route";
	$if_archived_lua"mam";
}
plugin_paths = { "$templates" }
authentication = "internal_hashed"
storage = "internal"
default_archive_policy = true
interfaces = { "127.0.0.1" }
c2s_ports = { $port }
c2s_direct_tls_ports = { $direct_port }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
s2s_ports = { $s2s_port }
s2s_secure_auth = true
loopback_route_port = $peer_s2s_port
ssl = { key = "$directory/key.pem"; certificate = "$directory/cert.pem"; cafile = "$directory/ca.pem" }
c2s_direct_tls_ssl = { key = "$directory/key.pem"; certificate = "$directory/cert.pem" }

VirtualHost "$domain"
