package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/sendgrid/sendgrid-go"
	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"
	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/bench/internal/cpu"
	"github.com/ma-messagerie/messagerie/chassis/bus"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
)

// senders are at it at once.
const senders = 64

// measureProvider: our client of SendGrid against plain posts of the same body to
// the same kind of server, and against the provider's own library.
func measureProvider(ctx context.Context, r *rig) ([]row, error) {
	ours := r.benchSides(ctx, benchmark{service: "notifier", name: "BenchmarkProvider/ours", count: r.size.sends, who: bothEnds})
	plain, shipped := r.plainPosts(ctx, sends), one("sendgrid-go as shipped", func() (measurement, error) { return shippedClient(ctx, r.size.shipped) })
	err := r.rounds(ctx, plain, ours, shipped)
	const what, opened = "provider client, TLS, 64 at once", "its new connections"
	return withOlder(ours, []row{
		{what: what, figure: sends, reference: plain[0], goal: 0.6},
		{what: opened, figure: connections, goal: 5, atMost: true},
		{what: what, figure: sends, reference: shipped[0]},
		{what: opened, figure: connections, reference: shipped[0]},
	}), err
}

// bothEnds of a post are in one process, on every side.
const bothEnds = "client, server"

// plainPosts are measured by this tree's benchmark alone: no version changes them.
// Their rate is given as the figure that they are compared with.
func (r *rig) plainPosts(ctx context.Context, figure string) []*side {
	return one("plain net/http", func() (measurement, error) {
		m, err := r.goBench(ctx, r.versions[0], benchmark{service: "notifier", name: "BenchmarkProvider/plain", count: r.size.sends, who: bothEnds})
		if err == nil {
			m.figures[figure] = m.figures[sends]
		}
		return m, err
	})
}

// measureNotifier: events that wait at the broker, to outcomes in the ledger.
func measureNotifier(ctx context.Context, r *rig) ([]row, error) {
	ours := r.benchSides(ctx, benchmark{
		service: "notifier", name: "BenchmarkNotifier", count: r.size.notifications, who: notifierAndRest, database: true, fill: r.fillBroker,
	})
	plain := r.plainPosts(ctx, notifications)
	err := r.rounds(ctx, plain, ours)
	return withOlder(ours, []row{
		{what: "notifications, ledger included, from a backlog", figure: notifications, reference: plain[0], goal: 0.25},
	}), err
}

// notifierAndRest are in the process of BenchmarkNotifier.
const notifierAndRest = "notifier, broker, provider"

// fillBroker is how BenchmarkNotifier makes its backlog: replies, published to a
// broker of its own process.
func (r *rig) fillBroker(ctx context.Context, n int) (cpu.Spending, error) {
	local, err := r.startBroker(true)
	if err != nil {
		return nil, err
	}
	defer local.stop()
	published, err := bus.Connect("bench", bus.Config{URL: local.url(), Replicas: 1, MaxBytes: 1 << 30}, bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"}, MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	})
	if err != nil {
		return nil, err
	}
	defer published.Close()
	return cpu.Meters{cpu.Ourselves(notifierAndRest)}.Around(func() error {
		if err := published.EnsureStream(ctx); err != nil {
			return err
		}
		batch, err := replies(n)
		if err != nil {
			return err
		}
		return errors.Join(published.Publish(ctx, batch)...)
	})
}

func replies(n int) ([]bus.Event, error) {
	batch := make([]bus.Event, n)
	for i := range batch {
		id, conversation := uuid.NewString(), uuid.NewString()
		data, err := proto.Marshal(&eventspb.ReplyPosted{
			Origin: &eventspb.Origin{EventId: id, ConversationId: conversation, Reference: "MSA-7K2M9QXP", Caisse: "armorique"}, Final: true,
		})
		if err != nil {
			return nil, err
		}
		batch[i] = bus.Event{
			ID: id, Type: eventspb.CEType(eventspb.DefaultDomain, eventspb.TypeReplyPosted), Source: "/messaging",
			Subject: eventspb.Subject(eventspb.TypeReplyPosted, "armorique"), Entity: conversation, Time: time.Now(), Data: data,
		}
	}
	return batch, nil
}

// shippedClient makes n sends as the library's own examples do: a client for each
// mail, on its default HTTP client.
func shippedClient(ctx context.Context, n int) (measurement, error) {
	var conns atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // a caller that hangs up shows on its side
		w.WriteHeader(http.StatusAccepted)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			conns.Add(1)
		}
	}
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections dropped in the handshake
	server.StartTLS()
	defer server.Close()
	// The library gives no way to name an authority; nothing else about the
	// transport is changed, and nothing else here uses it.
	transport := http.DefaultTransport.(*http.Transport) //nolint:forcetypeassert // so it is
	transport.TLSClientConfig = &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, MinVersion: tls.VersionTLS12}
	defer transport.CloseIdleConnections()
	var took time.Duration
	spent, err := cpu.Meters{cpu.Ourselves(bothEnds)}.Around(func() error {
		begun := time.Now()
		defer func() { took = time.Since(begun) }()
		return shippedSends(ctx, n, server.URL+"/v3/mail/send")
	})
	if err != nil {
		return measurement{}, fmt.Errorf("sending with sendgrid-go: %w", err)
	}
	return measurement{map[string]float64{
		sends: float64(n) / took.Seconds(), connections: float64(conns.Load()) * 1000 / float64(n),
	}, spent.Each(n)}, nil
}

func shippedSends(ctx context.Context, n int, url string) error {
	var left atomic.Int64
	left.Store(int64(n))
	group, ctx := errgroup.WithContext(ctx)
	for range senders {
		group.Go(func() error {
			for left.Add(-1) >= 0 {
				client := sendgrid.NewSendClient("k")
				client.BaseURL = url
				resp, err := client.SendWithContext(ctx, acknowledgement())
				if err == nil && resp.StatusCode != http.StatusAccepted {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// acknowledgement is a mail of about the size of ours.
func acknowledgement() *sgmail.SGMailV3 {
	text := make([]byte, 900)
	for i := range text {
		text[i] = 'a' + byte(i%26)
	}
	return sgmail.NewSingleEmail(sgmail.NewEmail("Ma messagerie", "no-reply@example.org"), "Accusé de réception MSA-7K2M9QXP",
		sgmail.NewEmail("", "jeanne@example.org"), string(text), "<p>"+string(text)+string(text)+"</p>")
}
