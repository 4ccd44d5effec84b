package network

import (
	"github.com/labstack/echo/v4"

	"github.com/slipway-cloud/slipway/api/rest"
	"github.com/slipway-cloud/slipway/internal/service/networks"
)

// mountAgents adds what operators look at: the hosts, and their zones, which everybody sees.
func (a *API) mountAgents(g *echo.Group) {
	g.GET("/agents", list(a, allAgents), rest.Expect(400))
	g.GET("/agents/:id", show(a, allAgents), rest.Expect(404))
	g.GET("/availability_zones", list(a, allZones), rest.Expect(400))
}

type agentRow = attribute[networks.Agent, any]

var allAgents = resource[networks.Agent, any]{
	one: "agent", many: "agents",
	id: func(o networks.Agent) string { return o.ID },
	attributes: table[networks.Agent, any]{
		agentRow{"id", filter, anyText, nil, func(o networks.Agent) any { return o.ID }},
		agentRow{"agent_type", filter, anyText, nil, func(networks.Agent) any { return "Slipway host" }},
		agentRow{"binary", filter, anyText, nil, func(networks.Agent) any { return "slipway-host" }},
		agentRow{"topic", filter, anyText, nil, func(networks.Agent) any { return "N/A" }},
		agentRow{"host", filter, anyText, nil, func(o networks.Agent) any { return o.Hostname }},
		agentRow{"availability_zone", filter, anyText, nil, func(o networks.Agent) any { return o.AvailabilityZone }},
		agentRow{"admin_state_up", filter, boolean, nil, func(o networks.Agent) any { return o.Enabled }},
		agentRow{"alive", filter, boolean, nil, func(o networks.Agent) any { return o.Alive }},
		agentRow{"description", filter, anyText, nil, func(networks.Agent) any { return "" }},
		agentRow{"configurations", 0, nil, nil, func(networks.Agent) any { return object{} }},
		agentRow{"created_at", 0, nil, nil, func(o networks.Agent) any { return rest.Time(o.CreatedAt) }},
		agentRow{"started_at", 0, nil, nil, func(o networks.Agent) any { return rest.Time(o.StartedAt) }},
		agentRow{"heartbeat_timestamp", 0, nil, nil, func(o networks.Agent) any { return rest.Time(o.SeenAt) }},
	},
	few:  (*networks.Repository).Agents,
	find: (*networks.Repository).Agent,
}

var allZones = resource[networks.Zone, any]{
	one: "availability_zone", many: "availability_zones",
	id: func(o networks.Zone) string { return o.Name },
	attributes: table[networks.Zone, any]{
		{"name", filter, anyText, nil, func(o networks.Zone) any { return o.Name }},
		{"resource", filter, anyText, nil, func(networks.Zone) any { return "network" }},
		{"state", filter, anyText, nil, func(o networks.Zone) any {
			if o.Available {
				return "available"
			}
			return "unavailable"
		}},
	},
	few: (*networks.Repository).Zones,
}
