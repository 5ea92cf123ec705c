-- Every other server is on this machine, at one port, without DNS and without direct TLS.
module:set_global();

local manual = require "net.resolvers.manual";
local service = require "net.resolvers.service";
local port = module:get_option_number("loopback_route_port");

function service.new(_, name)
	return manual.new(name == "xmpp-server" and { { "tcp4", "127.0.0.1", port } } or {});
end
