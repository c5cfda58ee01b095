package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/ma-messagerie/messagerie/web"
)

// startServices starts two of each service (of the product: one), one taxonomy, and
// every link.
func (f *Fleet) startServices(ctx context.Context, binaries string) error {
	listen, err := f.openPlaces(ctx)
	if err != nil {
		return err
	}
	for i, addr := range listen["taxonomy"] {
		if err := f.add(ctx, binaries, "taxonomy", i, f.taxonomyEnv(addr)); err != nil {
			return err
		}
	}
	for i, addr := range listen["messaging"] {
		if err := f.add(ctx, binaries, "messaging", i, f.messagingEnv(addr, f.targets)); err != nil {
			return err
		}
	}
	for i, addr := range listen["notifier"] {
		if err := f.add(ctx, binaries, "notifier", i, f.notifierEnv(i, addr, f.targets)); err != nil {
			return err
		}
	}
	for i := range f.HTTPAddrs {
		addr, err := freePort(ctx)
		if err != nil {
			return err
		}
		f.GRPCAddrs = append(f.GRPCAddrs, addr)
		if err := f.add(ctx, binaries, "gateway", i, f.gatewayEnv(addr, f.HTTPAddrs[i], f.targets)); err != nil {
			return err
		}
	}
	if !f.Options.Product {
		return nil
	}
	return f.add(ctx, binaries, "web", 0, f.webEnv())
}

// openPlaces chooses where the inner services listen, and how they are found.
func (f *Fleet) openPlaces(ctx context.Context) (listen map[string][]string, err error) {
	if f.Options.Product {
		listen, f.targets = make(map[string][]string), make(map[string]string)
		for _, name := range []string{"messaging", "notifier", "taxonomy"} {
			if f.targets[name], err = freePort(ctx); err != nil {
				return nil, err
			}
			listen[name] = []string{f.targets[name]}
		}
		return listen, nil
	}
	// A replica is an address of the loopback net, as one port stands for all.
	replicas := map[string][]netip.Addr{}
	for i, name := range []string{"messaging", "notifier", "taxonomy"} {
		for j := range 2 {
			replicas[name] = append(replicas[name], netip.AddrFrom4([4]byte{127, 77, byte(i + 1), byte(j + 1)}))
		}
	}
	replicas["taxonomy"] = replicas["taxonomy"][:1]
	if f.names, err = newNames(ctx, replicas); err != nil {
		return nil, err
	}
	f.targets, listen = make(map[string]string), make(map[string][]string)
	for name, addrs := range replicas {
		port := ""
		for i, addr := range addrs {
			real, err := freePort(ctx)
			if err != nil {
				return nil, err
			}
			listen[name] = append(listen[name], real)
			via, err := f.links.open(fmt.Sprintf("to-%s-%d", name, i+1), net.JoinHostPort(addr.String(), port0(port)), real)
			if err != nil {
				return nil, err
			}
			_, port, _ = net.SplitHostPort(via)
		}
		f.targets[name] = f.names.target(name, port)
	}
	return listen, nil
}

func port0(port string) string {
	if port == "" {
		return "0"
	}
	return port
}

// memory is GOMEMLIMIT in deploy/k8s.
var memory = map[string]string{"gateway": "170MiB", "web": "230MiB", "taxonomy": "230MiB", "messaging": "345MiB", "notifier": "345MiB"}

// add starts a replica of a service.
func (f *Fleet) add(ctx context.Context, binaries, service string, i int, settings map[string]string) error {
	admin, err := freePort(ctx)
	if err != nil {
		return err
	}
	name := fmt.Sprintf("%s-%d", service, i+1)
	prefix := strings.ToUpper(service) + "_"
	common := map[string]string{
		"ADMIN_ADDR": admin, "DRAIN_DELAY": DrainDelay.String(), "DRAIN_TIMEOUT": DrainTimeout.String(), "LOG_LEVEL": "INFO",
	}
	issuers, err := json.Marshal(f.oidc.Issuers())
	if err != nil {
		return fmt.Errorf("writing the issuers: %w", err)
	}
	common["ISSUERS"] = string(issuers)
	maps.Copy(settings, common)
	for setting, of := range map[string]string{"DATABASE_URL": service, "VAULT_URL": "vault", "NATS_URL": service} {
		value, wanted := settings[setting]
		if !wanted || value != "" {
			continue
		}
		upstream, scheme := f.bridge.listener.Addr().String(), "postgres://postgres@%s/"+of+"?sslmode=disable"
		if setting == "NATS_URL" {
			upstream, scheme = f.brokerAddr(), "nats://%s"
		} else if f.Options.Product {
			settings[setting] = f.Database.URL(of)
			continue
		}
		via, err := f.way(name+"-"+strings.ToLower(strings.TrimSuffix(strings.TrimSuffix(setting, "_URL"), "BASE")), upstream)
		if err != nil {
			return err
		}
		settings[setting] = fmt.Sprintf(scheme, via)
	}
	env := append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	if f.Options.Product {
		env = append(env, "GOMEMLIMIT="+memory[service])
	}
	for setting, value := range settings {
		env = append(env, prefix+setting+"="+value)
	}
	if skew := f.Options.Skew; skew != 0 {
		env = append(env, "MESSAGERIE_CLOCK_SKEW="+(time.Duration(i)*skew).String())
	}
	p := &Process{Name: name, path: filepath.Join(binaries, service), env: env, logs: f.dir, ready: httpReady("http://" + admin + "/readyz")}
	f.Services = append(f.Services, p)
	f.adminAddrs[name] = admin
	return p.Start()
}

func (f *Fleet) taxonomyEnv(addr string) map[string]string {
	return map[string]string{"GRPC_ADDR": addr, "DATABASE_URL": ""}
}

func (f *Fleet) machineEnv(id string) map[string]string {
	machine, err := f.oidc.Machine(id)
	if err != nil {
		panic(err) // a name of ours
	}
	return map[string]string{"TOKEN_URL": machine.TokenURL, "CLIENT_ID": machine.ClientID, "CLIENT_SECRET": machine.ClientSecret}
}

func (f *Fleet) messagingEnv(addr string, targets map[string]string) map[string]string {
	env := map[string]string{
		"GRPC_ADDR": addr, "DATABASE_URL": "", "VAULT_URL": "", "NATS_URL": "", "TAXONOMY_ADDR": targets["taxonomy"], "KEYSET": f.keyset, "RELAY_POLL": "500ms",
	}
	if f.Options.Cluster {
		env["NATS_REPLICAS"] = strconv.Itoa(clusterSize)
	}
	maps.Copy(env, f.machineEnv("messaging"))
	return env
}

func (f *Fleet) notifierEnv(i int, addr string, targets map[string]string) map[string]string {
	via, err := f.way(fmt.Sprintf("notifier-%d-inbox", i+1), f.inboxAddr)
	if err != nil {
		panic(err) // port 0
	}
	env := map[string]string{
		"GRPC_ADDR": addr, "DATABASE_URL": "", "NATS_URL": "", "MESSAGING_ADDR": targets["messaging"],
		"SITE_ADDRESS": "messagerie.example.org", "SENDGRID_BASE_URL": "http://" + via, "SENDGRID_API_KEY": sendGridKey,
		"SENDGRID_FROM": "ne-pas-repondre@messagerie.example.org", "SENDGRID_ACTIVITY": fmt.Sprint(f.Options.Lookups),
		"TWILIO_BASE_URL": "http://" + via, "TWILIO_ACCOUNT_SID": twilioSID, "TWILIO_AUTH_TOKEN": twilioToken, "TWILIO_FROM": "+33639980000",
		"TWILIO_LOOKUP": fmt.Sprint(f.Options.Lookups), "WORKERS": fmt.Sprint(workers),
		"CALL_TIMEOUT": callTimeout.String(), "LEASE": Lease.String(), "AMBIGUITY_WAIT": AmbiguityWait.String(), "POLL": "250ms",
		"RECONCILE_EVERY": f.Options.Reconcile.String(), "SMS_HOURS": "0-24", // or what is late after dark ends in the morning
	}
	if f.Options.Cluster {
		env["NATS_REPLICAS"] = strconv.Itoa(clusterSize)
	}
	if f.Options.Product {
		for _, setting := range []string{"WORKERS", "CALL_TIMEOUT", "LEASE", "AMBIGUITY_WAIT", "POLL", "RECONCILE_EVERY"} {
			delete(env, setting)
		}
	}
	if f.Options.Reports {
		env["SENDGRID_WEBHOOK_KEY"] = f.webhookKey
		env["TWILIO_STATUS_CALLBACK"] = f.webhookURL(f.hooks, "twilio")
	}
	maps.Copy(env, f.machineEnv("notifier"))
	return env
}

func (f *Fleet) gatewayEnv(grpcAddr, httpAddr string, targets map[string]string) map[string]string {
	env := map[string]string{
		"GRPC_ADDR": grpcAddr, "HTTP_ADDR": httpAddr, "TAXONOMY_ADDR": targets["taxonomy"], "MESSAGING_ADDR": targets["messaging"],
		"NOTIFIER_ADDR": targets["notifier"], "ACCESS_LOG": "false",
	}
	if !f.Options.Product {
		// Few front ends stand for many people, and what is slow is tried again.
		for _, limit := range []string{
			"RATE_PER_CALLER", "RATE_PER_ADDRESS", "WEBHOOK_RATE", "STREAMS_PER_CALLER", "MAX_CONNECTIONS", "CONNECTIONS_PER_ADDRESS",
			"CONNECTIONS_PER_CALLER", "SHARED_PER_ADDRESS",
		} {
			env[limit] = "0"
		}
		env["CALL_TIMEOUT"] = "5s"
	}
	return env
}

func (f *Fleet) webEnv() map[string]string {
	return map[string]string{
		"HTTP_ADDR": f.WebAddr, "PUBLIC_URL": "http://" + f.WebAddr, "GATEWAY_ADDR": f.GRPCAddrs[0], "SESSION_KEY": web.NewSessionKey(),
		"MEMBERS_ISSUER": "http://" + f.OIDCAddr + "/usagers", "AGENTS_ISSUER": "http://" + f.OIDCAddr + "/agents",
	}
}

// Direct is the address of a service behind the gateway, for whoever prepares a run.
func (f *Fleet) Direct(service string) string { return f.targets[service] }
