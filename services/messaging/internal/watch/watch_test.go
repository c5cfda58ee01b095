package watch

import (
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
	eventspb "github.com/ma-messagerie/messagerie/proto/messagerie/events/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/messagingtest"
)

// env is a database and a broker of the test's own.
type env struct {
	pool   *pgxpool.Pool
	broker *testenv.Broker
}

func newEnv(t *testing.T) *env {
	t.Helper()
	return &env{messagingtest.Pool(t), testenv.NATS(t)}
}

// connect is a connection with the broker, as a process has it.
func (s *env) connect(t *testing.T) *bus.Bus {
	t.Helper()
	events, err := bus.Connect("test", bus.Config{URL: s.broker.URL, Replicas: 1, MaxBytes: 64 << 20}, bus.Stream{
		Name: eventspb.StreamName, Subjects: []string{eventspb.SubjectPrefix + ">"},
		MaxAge: eventspb.MaxAge, DuplicateWindow: eventspb.DuplicateWindow,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(events.Close)
	messagingtest.Eventually(t, "the broker is connected", events.Connected)
	return events
}
