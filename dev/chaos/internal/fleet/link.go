package fleet

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Link is the way from one process to another, with a proxy on it.
type Link struct {
	Name   string
	server *toxiproxy.ApiServer
	proxy  *toxiproxy.Proxy
	// Acting is held by whoever breaks it.
	Acting sync.Mutex
}

// healPatience is how long faults may take to be taken off.
const healPatience = 5 * time.Second

// links are all of them.
type links struct {
	server *toxiproxy.ApiServer
	all    []*Link
}

func newLinks() *links {
	zerolog.SetGlobalLevel(zerolog.Disabled) // its toxics write to the standard logger
	return &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), zerolog.Nop())}
}

// open makes a link that listens on an address, port 0 for a free one.
func (l *links) open(name, listen, upstream string) (addr string, err error) {
	proxy := toxiproxy.NewProxy(l.server, name, listen, upstream)
	if err := proxy.Start(); err != nil {
		return "", fmt.Errorf("opening link %s: %w", name, err)
	}
	l.all = append(l.all, &Link{Name: name, server: l.server, proxy: proxy})
	return proxy.Listen, nil
}

func (l *links) close() {
	for _, link := range l.all {
		link.proxy.Stop()
	}
}

// Toxic is a fault of a link, as toxiproxy names it.
type Toxic struct {
	Name       string         `json:"name"`
	Type       string         `json:"type"`
	Stream     string         `json:"stream"`
	Attributes map[string]any `json:"attributes"`
}

// Spoil puts a fault on the link.
func (l *Link) Spoil(t Toxic) error {
	body, err := json.Marshal(t)
	if err != nil {
		return fmt.Errorf("writing a toxic: %w", err)
	}
	_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(body))
	// toxiproxy returns a pointer in an interface, which is never nil.
	var fault *toxiproxy.ApiError
	if errors.As(err, &fault) && fault != nil {
		return fmt.Errorf("spoiling %s: %w", l.Name, fault)
	}
	return nil
}

// Heal takes all faults off. toxiproxy (2.5) waits for ever for a slicer whose
// connection has gone meanwhile, and forwards nothing any more: such a proxy is left to
// itself with its open connections, which say nothing from then on, and a new one takes
// its place.
func (l *Link) Heal(ctx context.Context) error {
	stuck := l.proxy
	healed := make(chan struct{})
	go func() {
		stuck.Toxics.ResetToxics(ctx)
		close(healed)
	}()
	select {
	case <-healed:
		return nil
	case <-time.After(healPatience):
	}
	go stuck.Stop() // closes what it listens on, and hangs
	var err error
	for until := time.Now().Add(healPatience); time.Now().Before(until) && ctx.Err() == nil; Sleep(ctx, 10*time.Millisecond) {
		next := toxiproxy.NewProxy(l.server, l.Name, stuck.Listen, stuck.Upstream)
		if err = next.Start(); err == nil {
			l.proxy = next
			return nil
		}
	}
	return fmt.Errorf("replacing the proxy of link %s: %w", l.Name, errors.Join(err, ctx.Err()))
}

// bridge forwards connections on TCP to a unix socket, as toxiproxy speaks to no
// other than TCP and the private PostgreSQL listens on no other than its socket.
type bridge struct {
	listener net.Listener

	mu     sync.Mutex
	socket string
	// frozen is closed for the connections that are frozen, ended when the bridge is.
	frozen, ended chan struct{}
	// mute: new ones say nothing from the beginning.
	mute bool
}

func newBridge(ctx context.Context, socket string) (*bridge, error) {
	var config net.ListenConfig
	lis, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening the bridge: %w", err)
	}
	b := &bridge{listener: lis, socket: socket, frozen: make(chan struct{}), ended: make(chan struct{})}
	go b.run()
	return b, nil
}

// lead has new connections go to another socket.
func (b *bridge) lead(socket string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.socket = socket
}

// freeze has the connections that are open stay so, and nothing come through any more,
// as when a host is lost or a firewall has forgotten them. New ones work, or with mute
// are taken and say nothing either.
func (b *bridge) freeze(mute bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.frozen)
	b.frozen, b.mute = make(chan struct{}), mute
}

func (b *bridge) close() {
	_ = b.listener.Close() // nobody comes any more
	close(b.ended)
}

func (b *bridge) run() {
	for {
		client, err := b.listener.Accept()
		if err != nil {
			return
		}
		go b.forward(client)
	}
}

// copy copies until either end closes, and reports whether they were frozen by then.
func (b *bridge) copy(to io.Writer, from io.Reader, frozen <-chan struct{}) bool {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		select {
		case <-frozen:
			return true
		default:
		}
		if _, fault := to.Write(buffer[:n]); err != nil || fault != nil {
			return false
		}
	}
}

func (b *bridge) forward(client net.Conn) {
	defer client.Close()
	b.mu.Lock()
	socket, frozen, mute := b.socket, b.frozen, b.mute
	b.mu.Unlock()
	if mute {
		<-b.ended
		return
	}
	server, err := net.Dial("unix", socket) //nolint:noctx // ends with the server
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	// When either side ends, so does the other: half-open connections are a
	// matter of links.
	copyTo := func(to, from net.Conn) {
		if b.copy(to, from, frozen) {
			<-b.ended
		}
		client.Close()
		server.Close()
	}
	both.Go(func() { copyTo(server, client) })
	both.Go(func() { copyTo(client, server) })
	both.Wait()
}
