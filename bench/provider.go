package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sendgrid/sendgrid-go"
	sgmail "github.com/sendgrid/sendgrid-go/helpers/mail"
)

const (
	// sends are made by each side; fewer by sendgrid-go as shipped, which opens a
	// connection for most.
	sends        = 30_000
	shippedSends = 3000
	// senders are at it at once.
	senders = 64
	// notifications wait at the broker.
	notifications = 20_000
)

// measureProvider: our client of SendGrid against plain posts of the same body to
// the same kind of server, and against the provider's own library.
func measureProvider(ctx context.Context, r *rig) ([]row, error) {
	var ours, oursConns, plain, shipped, shippedConns sample
	err := r.rounds(ctx,
		side{&plain, func() (float64, error) { return r.plainPosts(ctx) }},
		side{&ours, func() (float64, error) {
			got, err := r.goBench(ctx, "notifier", "BenchmarkProvider/ours", fmt.Sprint(sends, "x"))
			oursConns = append(oursConns, got["conns/1000"])
			return got["sends/s"], err
		}},
		side{&shipped, func() (float64, error) {
			rate, conns, err := shippedClient(ctx)
			shippedConns = append(shippedConns, conns)
			return rate, err
		}},
	)
	return []row{
		{what: "provider client, TLS, 64 at once", unit: "sends/s", ours: ours, against: "plain net/http", reference: plain, goal: 0.6},
		{what: "its new connections", unit: "per 1000 sends", ours: oursConns, goal: 5, atMost: true},
		{what: "provider client, TLS, 64 at once", unit: "sends/s", ours: ours, against: "sendgrid-go as shipped", reference: shipped},
		{what: "its new connections", unit: "per 1000 sends", ours: oursConns, against: "sendgrid-go as shipped", reference: shippedConns},
	}, err
}

func (r *rig) plainPosts(ctx context.Context) (float64, error) {
	got, err := r.goBench(ctx, "notifier", "BenchmarkProvider/plain", fmt.Sprint(sends, "x"))
	return got["sends/s"], err
}

// measureNotifier: events that wait at the broker, to outcomes in the ledger.
func measureNotifier(ctx context.Context, r *rig) ([]row, error) {
	var ours, plain sample
	err := r.rounds(ctx,
		side{&plain, func() (float64, error) { return r.plainPosts(ctx) }},
		side{&ours, func() (float64, error) {
			got, err := r.goBench(ctx, "notifier", "BenchmarkNotifier", fmt.Sprint(notifications, "x"))
			return got["notifications/s"], err
		}},
	)
	return []row{
		{what: "notifications, ledger included, from a backlog", unit: "per second", ours: ours, against: "plain net/http", reference: plain, goal: 0.25},
	}, err
}

// shippedClient sends as the library's own examples do: a client for each mail,
// on its default HTTP client. It returns sends per second and connections per
// thousand.
func shippedClient(ctx context.Context) (rate, connections float64, err error) {
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
	var left atomic.Int64
	left.Store(shippedSends)
	faults := make(chan error, senders)
	var group sync.WaitGroup
	begun := time.Now()
	for range senders {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				client := sendgrid.NewSendClient("k")
				client.BaseURL = server.URL + "/v3/mail/send"
				resp, err := client.SendWithContext(ctx, acknowledgement())
				if err == nil && resp.StatusCode != http.StatusAccepted {
					err = fmt.Errorf("status %d", resp.StatusCode)
				}
				if err != nil {
					faults <- err
					return
				}
			}
		})
	}
	group.Wait()
	took := time.Since(begun)
	select {
	case err := <-faults:
		return 0, 0, fmt.Errorf("sending with sendgrid-go: %w", err)
	default:
		return shippedSends / took.Seconds(), float64(conns.Load()) * 1000 / shippedSends, nil
	}
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
