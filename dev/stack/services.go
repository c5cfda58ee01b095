package stack

import (
	"net"
	"time"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/chassis/auth"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/fair"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/gateway"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/services/notifier"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
	"github.com/ma-messagerie/messagerie/web"
)

func process() chassis.Process { return chassis.Process{DrainTimeout: 10 * time.Second} }

func (s *Stack) tokens() auth.Config { return auth.Config{Issuers: s.provider.Issuers()} }

func (s *Stack) bus() bus.Config {
	return bus.Config{URL: "nats://" + s.NATS, Replicas: 1, MaxBytes: 1 << 30}
}

func (s *Stack) taxonomyConfig() taxonomy.Config {
	return taxonomy.Config{
		Process: process(), ServerConfig: rpc.ServerConfig{Listener: s.listeners["taxonomy"], Reflection: true}, Config: s.tokens(),
		DatabaseURL: s.urls["taxonomy"], Migrate: true, Refresh: 5 * time.Second,
	}
}

// messagingConfig keeps conversations for ever, unless the taxonomy gives them a term.
func (s *Stack) messagingConfig() messaging.Config {
	return messaging.Config{
		Process: process(), ServerConfig: rpc.ServerConfig{Listener: s.listeners["messaging"], Reflection: true}, Config: s.tokens(),
		MachineConfig: s.machines["messaging"], Bus: s.bus(),
		DatabaseURL: s.urls["messaging"], VaultURL: s.urls["vault"], Migrate: true,
		TaxonomyAddr: s.addr("taxonomy"), TaxonomyRefresh: 5 * time.Second,
		Keyset: s.keyset, ClaimLease: 15 * time.Minute, ConversationRetention: 0, RelayPoll: time.Second, EventDomain: eventspb.DefaultDomain,
	}
}

// notifierConfig has a short lease and a short wait after an unknown outcome: the
// stand-in answers within milliseconds, and who kills the process in the middle
// of a call wants to see it mended.
func (s *Stack) notifierConfig() notifier.Config {
	return notifier.Config{
		Process: process(), ServerConfig: rpc.ServerConfig{Listener: s.listeners["notifier"], Reflection: true}, Config: s.tokens(),
		MachineConfig: s.machines["notifier"], Bus: s.bus(),
		SendGrid: notifier.SendGrid{BaseURL: "http://" + s.Inbox, APIKey: sendGridKey, From: fromEmail, FromName: "Ma messagerie", Activity: true, WebhookKey: s.Mailbox.WebhookKey()},
		Twilio: notifier.Twilio{
			BaseURL: "http://" + s.Inbox, AccountSID: twilioSID, AuthToken: twilioToken, From: fromPhone, Lookup: true,
			StatusCallback: "http://" + s.HTTP + "/webhooks/twilio",
		},
		DatabaseURL: s.urls["notifier"], Migrate: true, MessagingAddr: s.addr("messaging"), SiteAddress: siteAddress,
		Workers: 16, CallTimeout: 3 * time.Second, Lease: 9 * time.Second, AmbiguityWait: 5 * time.Second, Poll: time.Second,
		ReconcileEvery: 5 * time.Second, WebhookMaxAge: 25 * time.Hour,
	}
}

func (s *Stack) gatewayConfig() gateway.Config {
	return gateway.Config{
		Process: process(), ServerConfig: rpc.ServerConfig{Listener: s.listeners["grpc"], Reflection: true}, Config: s.tokens(),
		HTTPListener: s.listeners["http"], TaxonomyAddr: s.addr("taxonomy"), MessagingAddr: s.addr("messaging"), NotifierAddr: s.addr("notifier"),
		CallTimeout: 10 * time.Second, ReadyPatience: 30 * time.Second, MaxConcurrent: 512, CallsPerCaller: 64, Bounds: bounds(), AccessLog: true,
		// Front ends on this machine, whatever port their development server takes.
		CORSOrigins: []string{"http://localhost:*", "http://127.0.0.1:*"},
	}
}

// bounds are the product's own, with rates at which scripts and tests are people, too.
func bounds() fair.Bounds {
	b, err := chassis.Load[fair.Bounds]("", nil)
	if err != nil {
		panic(err) // defaults of ours
	}
	b.RatePerCaller, b.BurstPerCaller, b.RatePerAddress, b.BurstPerAddress = 100, 200, 1000, 2000
	return b
}

// webURLs are the addresses by which a browser on this machine finds the pages.
func (s *Stack) webURLs() []string {
	_, port, _ := net.SplitHostPort(s.Web)
	return []string{"http://" + s.Web, "http://localhost:" + port}
}

func (s *Stack) webConfig() web.Config {
	return web.Config{
		Process: process(), Bounds: bounds(), HTTPListener: s.listeners["web"], PublicURL: "http://" + s.Web, GatewayAddr: s.GRPC,
		Members:    web.Provider{Issuer: "http://" + s.OIDC + "/usagers", ClientID: "web"},
		Agents:     web.Provider{Issuer: "http://" + s.OIDC + "/agents", ClientID: "web"},
		SessionKey: s.webKey, FundName: "Caisse d’Armorique", Publisher: "Ma messagerie (développement)",
		OwnSites: []string{"services.example.org"}, // those of the default taxonomy
	}
}
