// Package bus publishes events to a JetStream stream and consumes them.
//
// # What is promised
//
// Publish reports, event by event, whether the broker has acknowledged it. An
// event published twice with the same id within the stream's duplicate window is
// kept once. A large set goes to the broker as atomic batches, which cost it a few
// flushes of its disk each instead of one per event; that changes nothing in what
// is reported. Consume hands every event of the stream to the handler at least
// once, in batches; a batch is acknowledged only after the handler has returned
// without error, and the acknowledgement itself is confirmed (double ack), so an
// event that was handled is not handed out again by a broker that remembers.
//
// # How
//
// The stream keeps events by age and size alone (Limits) and refuses new ones when
// it is full rather than dropping old ones (Discard new), so a publisher with an
// outbox notices. The server should run with sync_interval: always; by default
// JetStream acknowledges before the disk has the event. A failed batch comes back
// after a growing delay, never at once: a bare nak is redelivered immediately and
// ignores every back-off. There is no delivery limit: what cannot be handled is
// set aside by the handler, which has a database, not forgotten by the broker.
//
// Stream and consumer are created by whoever needs them, and again whenever they are
// found missing. A stream that exists stays as its operator has set it.
//
// # When it breaks
//
// The broker can lose what it has acknowledged: its disk, its store rolled back,
// a window of duplicates forgotten. Nothing here repairs that: a consumer that needs
// every event compares what it has with the publisher's event log, as the notifier
// does. Order is not promised.
package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
)

// Config is the broker side of a configuration. Embed it with a prefix (NATS_).
type Config struct {
	// URL is one or more servers, separated by commas.
	URL string `env:"URL" envDefault:"nats://127.0.0.1:4222"`
	// CredsPath is a credentials file (JWT and nkey); empty for none.
	CredsPath string `env:"CREDS_PATH"`
	// CAPath, CertPath and KeyPath are for TLS; empty for none.
	CAPath   string `env:"CA_PATH"`
	CertPath string `env:"CERT_PATH"`
	KeyPath  string `env:"KEY_PATH"`
	// Replicas is how many servers keep each event: 1, or 3 in a cluster.
	Replicas int `env:"REPLICAS" envDefault:"1"`
	// MaxBytes bounds the stream on disk. When it is full, events wait in the
	// publisher's outbox.
	MaxBytes int64 `env:"MAX_BYTES" envDefault:"4294967296"`
}

const (
	// apiTimeout bounds one call about a stream or a consumer.
	apiTimeout = 3 * time.Second
	// ackTimeout bounds the wait for one acknowledgement when the context of
	// Publish does not.
	ackTimeout = 10 * time.Second
	// readyTimeout is how long the broker may take to answer a ping.
	readyTimeout = 500 * time.Millisecond
)

// Bus is a connection to the broker. It is safe for concurrent use.
type Bus struct {
	cfg    Config
	stream Stream
	conn   *nats.Conn
	js     jetstream.JetStream

	// ensuring serialises EnsureStream; reported is what it last logged as lacking.
	ensuring sync.Mutex
	reported string

	denied   denials
	measured metric.Registration
}

// Connect returns a bus for a stream. It does not wait for the broker: the
// connection is made in the background, for as long as it takes, and again
// whenever it is lost. Meanwhile Publish fails and Consume waits.
func Connect(name string, cfg Config, stream Stream) (*Bus, error) {
	b := &Bus{cfg: cfg, stream: stream}
	opts := []nats.Option{
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		// By default the client gives up for good after two refusals of the same
		// credentials, which a rotation of keys or a restart of the broker's
		// account server is enough for.
		nats.IgnoreAuthErrorAbort(),
		// A connection whose other end has vanished is noticed after two pings.
		nats.PingInterval(10 * time.Second),
		// What could not be written while disconnected is reported at once: the
		// outbox is the buffer, and it survives.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil { // nil: we closed it
				slog.Warn("broker disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { slog.Info("broker connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if !b.denied.learn(err) { // a denial is reported by Publish
				slog.Warn("broker", "error", err)
			}
		}),
	}
	if cfg.CredsPath != "" {
		opts = append(opts, nats.UserCredentials(cfg.CredsPath))
	}
	if cfg.CAPath != "" {
		opts = append(opts, nats.RootCAs(cfg.CAPath))
	}
	if cfg.CertPath != "" {
		opts = append(opts, nats.ClientCert(cfg.CertPath, cfg.KeyPath))
	}
	conn, err := nats.Connect(cfg.URL, opts...)
	if err != nil {
		return nil, fmt.Errorf("connecting to the broker: %w", err)
	}
	js, err := jetstream.New(conn, jetstream.WithDefaultTimeout(apiTimeout),
		// Acknowledgements nobody waits for any more would otherwise fill the
		// window of those that are pending.
		jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithPublishAsyncTimeout(ackTimeout))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	measured, err := measure(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	b.conn, b.js, b.measured = conn, js, measured
	return b, nil
}

// Close ends the connection at once. Publish and Consume must have returned.
func (b *Bus) Close() {
	if err := b.measured.Unregister(); err != nil {
		slog.Warn("unregistering instruments", "error", err)
	}
	b.conn.Close()
}

// measure reports the state of the connection at each scrape.
func measure(conn *nats.Conn) (metric.Registration, error) {
	meter := otel.Meter("bus")
	connected, err1 := meter.Int64ObservableGauge("messagerie.broker.connected",
		metric.WithDescription("1 while there is a connection with the broker, else 0."))
	again, err2 := meter.Int64ObservableCounter("messagerie.broker.reconnections",
		metric.WithDescription("How often the connection was made again."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, observe metric.Observer) error {
		up := int64(0)
		if conn.IsConnected() {
			up = 1
		}
		observe.ObserveInt64(connected, up)
		observe.ObserveInt64(again, int64(conn.Stats().Reconnects)) //nolint:gosec // far below 2^63
		return nil
	}, connected, again)
	if err != nil {
		return nil, fmt.Errorf("making instruments: %w", err)
	}
	return registration, nil
}

// Ready returns nil when the broker answers.
func (b *Bus) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := b.conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("asking the broker: %w", err)
	}
	return nil
}

// Event is one event to publish.
type Event struct {
	// ID is the event's id: a second event with the same one is dropped.
	ID string
	// Type is the CloudEvents type.
	Type string
	// Source is the CloudEvents source, a URI reference.
	Source string
	// Subject is the broker's subject.
	Subject string
	// Entity is the CloudEvents subject: what the event is about.
	Entity string
	// Time is when it happened.
	Time time.Time
	// Schema is the CloudEvents dataschema, a URI; empty: the event has none.
	Schema string
	// Data is the payload, in protobuf.
	Data []byte
	// TraceParent is the W3C traceparent of the call that caused it, or empty.
	TraceParent string
}

// Names of the CloudEvents attributes in binary mode, and of the message id.
const (
	headerID          = "ce-id"
	headerType        = "ce-type"
	headerSource      = "ce-source"
	headerSpec        = "ce-specversion"
	headerTime        = "ce-time"
	headerEntity      = "ce-subject"
	headerContentType = "ce-datacontenttype"
	headerSchema      = "ce-dataschema"
)

func (e Event) msg(ctx context.Context) *nats.Msg {
	header := nats.Header{
		jetstream.MsgIDHeader: {e.ID},
		headerID:              {e.ID},
		headerType:            {e.Type},
		headerSource:          {e.Source},
		headerSpec:            {"1.0"},
		headerTime:            {e.Time.UTC().Format(time.RFC3339Nano)},
		headerContentType:     {"application/protobuf"},
	}
	if e.Entity != "" {
		header[headerEntity] = []string{e.Entity}
	}
	if e.Schema != "" {
		header[headerSchema] = []string{e.Schema}
	}
	propagation.TraceContext{}.Inject(ctx, carrier(header))
	return &nats.Msg{Subject: e.Subject, Header: header, Data: e.Data}
}

// carrier carries a trace in NATS headers. OpenTelemetry's own HeaderCarrier
// writes "Traceparent", and NATS headers are case-sensitive: other languages
// would not find it.
type carrier nats.Header

func (c carrier) Get(key string) string {
	for name, values := range c {
		if strings.EqualFold(name, key) && len(values) > 0 {
			return values[0]
		}
	}
	return ""
}

func (c carrier) Set(key, value string) { c[strings.ToLower(key)] = []string{value} }

func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for name := range c {
		keys = append(keys, name)
	}
	return keys
}
