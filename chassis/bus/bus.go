// Package bus publishes events to a JetStream stream and consumes them.
//
// # What is promised
//
// Publish reports, event by event, whether the broker has acknowledged it. An
// event published twice with the same id within the stream's duplicate window is
// kept once. Consume hands every event of the stream to the handler at least
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
// set aside by the handler, who has a database, not forgotten by the broker.
//
// Stream and consumer are made by whoever needs them and made again whenever they
// are found missing.
//
// # When it breaks
//
// The broker can lose what it has acknowledged: its disk, its store rolled back,
// a window of duplicates forgotten. Nothing here repairs that; the event log of
// the publisher does. Order is not promised.
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
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
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

// Stream is what the stream holds and for how long.
type Stream struct {
	Name            string
	Subjects        []string
	MaxAge          time.Duration
	DuplicateWindow time.Duration
}

const (
	tracerName = "github.com/ma-messagerie/messagerie/chassis/bus"
	// apiTimeout bounds one call about a stream or a consumer.
	apiTimeout = 3 * time.Second
	// readyTimeout is how long the broker may take to answer a ping.
	readyTimeout = 500 * time.Millisecond
)

// Bus is a connection to the broker. It is safe for concurrent use.
type Bus struct {
	cfg    Config
	stream Stream
	conn   *nats.Conn
	js     jetstream.JetStream

	// ensuring serialises the making of the stream.
	ensuring sync.Mutex
}

// Connect returns a bus for a stream. It does not wait for the broker: the
// connection is made in the background, for as long as it takes, and again
// whenever it is lost. Meanwhile Publish fails and Consume waits.
func Connect(name string, cfg Config, stream Stream) (*Bus, error) {
	opts := []nats.Option{
		nats.Name(name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 500*time.Millisecond),
		// What could not be written while disconnected is reported at once: the
		// outbox is the buffer, and it survives.
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { slog.Warn("broker disconnected", "error", err) }),
		nats.ReconnectHandler(func(*nats.Conn) { slog.Info("broker connected again") }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { slog.Warn("broker", "error", err) }),
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
	js, err := jetstream.New(conn, jetstream.WithPublishAsyncMaxPending(4096), jetstream.WithDefaultTimeout(apiTimeout))
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("opening JetStream: %w", err)
	}
	return &Bus{cfg: cfg, stream: stream, conn: conn, js: js}, nil
}

// Close ends the connection at once. Publish and Consume must have returned.
func (b *Bus) Close() { b.conn.Close() }

// Ready returns nil when the broker answers.
func (b *Bus) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := b.conn.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("asking the broker: %w", err)
	}
	return nil
}

// EnsureStream makes the stream, or brings its settings up to date.
func (b *Bus) EnsureStream(ctx context.Context) error {
	b.ensuring.Lock()
	defer b.ensuring.Unlock()
	_, err := b.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name:       b.stream.Name,
		Subjects:   b.stream.Subjects,
		Retention:  jetstream.LimitsPolicy,
		Discard:    jetstream.DiscardNew,
		Storage:    jetstream.FileStorage,
		MaxAge:     b.stream.MaxAge,
		MaxBytes:   b.cfg.MaxBytes,
		Duplicates: b.stream.DuplicateWindow,
		Replicas:   b.cfg.Replicas,
		// Events are deleted by age alone, not by a client that may.
		DenyDelete:         true,
		DenyPurge:          true,
		AllowAtomicPublish: true,
	})
	if err != nil {
		return fmt.Errorf("making stream %s: %w", b.stream.Name, err)
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
	// Data is the payload, in protobuf.
	Data []byte
	// TraceParent is the W3C traceparent of the call that caused it, or empty.
	TraceParent string
}

// Publish publishes events and returns one error for each, nil for those that
// the broker has acknowledged. The acknowledgements are awaited together, until
// ctx is done. A stream found missing is made, and the events published again.
func (b *Bus) Publish(ctx context.Context, events []Event) []error {
	errs := b.publish(ctx, events)
	var missing []int
	for i, err := range errs {
		if errors.Is(err, jetstream.ErrNoStreamResponse) || errors.Is(err, nats.ErrNoResponders) {
			missing = append(missing, i)
		}
	}
	if len(missing) == 0 || b.EnsureStream(ctx) != nil {
		return errs
	}
	again := make([]Event, len(missing))
	for j, i := range missing {
		again[j] = events[i]
	}
	for j, err := range b.publish(ctx, again) {
		errs[missing[j]] = err
	}
	return errs
}

func (b *Bus) publish(ctx context.Context, events []Event) []error {
	errs := make([]error, len(events))
	acks := make([]jetstream.PubAckFuture, len(events))
	spans := make([]trace.Span, len(events))
	for i, event := range events {
		spanCtx, span := startPublish(ctx, event)
		spans[i] = span
		if acks[i], errs[i] = b.js.PublishMsgAsync(event.msg(spanCtx)); errs[i] != nil {
			errs[i] = fmt.Errorf("publishing event %s: %w", event.ID, errs[i])
		}
	}
	for i, ack := range acks {
		if ack != nil {
			errs[i] = await(ctx, events[i].ID, ack)
		}
		if errs[i] != nil {
			spans[i].RecordError(errs[i])
		}
		spans[i].End()
	}
	return errs
}

func await(ctx context.Context, id string, ack jetstream.PubAckFuture) error {
	select {
	case <-ack.Ok():
		return nil
	case err := <-ack.Err():
		return fmt.Errorf("publishing event %s: %w", id, err)
	case <-ctx.Done():
		return fmt.Errorf("publishing event %s: no acknowledgement: %w", id, ctx.Err())
	}
}

// startPublish opens a producer span whose parent is the call that caused the
// event, however long ago that was.
func startPublish(ctx context.Context, event Event) (context.Context, trace.Span) {
	if event.TraceParent != "" {
		ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": event.TraceParent})
	}
	return otel.Tracer(tracerName).Start(ctx, "publish "+event.Type, trace.WithSpanKind(trace.SpanKindProducer),
		trace.WithAttributes(attribute.String("messaging.system", "nats"), attribute.String("messaging.destination.name", event.Subject),
			attribute.String("messaging.message.id", event.ID)))
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
	otel.GetTextMapPropagator().Inject(ctx, carrier(header))
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
