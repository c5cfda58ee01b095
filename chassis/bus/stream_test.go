package bus_test

import (
	"bytes"
	"log"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/ma-messagerie/messagerie/chassis/bus"
	"github.com/ma-messagerie/messagerie/chassis/testenv"
)

// A stream stays as its operator has set it.
func TestEnsureStream_LeavesWhatIsThere(t *testing.T) {
	t.Parallel()
	url := testenv.NATS(t).URL
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	theirs := jetstream.StreamConfig{Name: stream.Name, Subjects: []string{"test.>", "others.>"}, MaxBytes: 1 << 20, Discard: jetstream.DiscardNew, Duplicates: time.Minute, Metadata: map[string]string{"by": "us"}}
	if _, err := js.CreateStream(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	b := connect(t, url)
	b.Prepare(t.Context())
	publishUntilAcked(t, b, newEvent("one"))
	found, err := js.Stream(t.Context(), stream.Name)
	if err != nil {
		t.Fatal(err)
	}
	got := found.CachedInfo().Config
	if got.MaxBytes != theirs.MaxBytes || len(got.Subjects) != 2 || got.Metadata["by"] != "us" || got.AllowAtomicPublish {
		t.Errorf("the stream was set back: %+v", got)
	}
	if found.CachedInfo().State.Msgs != 1 {
		t.Errorf("%d events", found.CachedInfo().State.Msgs)
	}
}

// What is missing is said once, and not at each look.
func TestEnsureStream_SaysOnceWhatIsMissing(t *testing.T) { // not parallel: the log is everybody's
	url := testenv.NATS(t).URL
	conn, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: stream.Name, Subjects: stream.Subjects}); err != nil {
		t.Fatal(err)
	}
	b := connect(t, url)
	var logged bytes.Buffer
	before, out, flags := slog.Default(), log.Writer(), log.Flags()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer func() {
		slog.SetDefault(before)
		log.SetOutput(out)
		log.SetFlags(flags)
	}()
	for range 3 {
		if err := b.EnsureStream(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(logged.String(), "the stream is not as it is needed"); n != 1 {
		t.Errorf("said %d times:\n%s", n, logged.String())
	}
}

// What the code needs and a stream lacks is reported in words; what is the operator's choice
// is not.
func TestStream_Lacks(t *testing.T) {
	t.Parallel()
	good := stream.Settings(bus.Config{Replicas: 1, MaxBytes: 1 << 24})
	for name, row := range map[string]struct {
		change func(*jetstream.StreamConfig)
		want   string
	}{
		"as made":          {func(*jetstream.StreamConfig) {}, ""},
		"size, replicas":   {func(c *jetstream.StreamConfig) { c.MaxBytes, c.Replicas = 1, 5 }, ""},
		"longer":           {func(c *jetstream.StreamConfig) { c.MaxAge, c.Duplicates = 0, time.Hour }, ""},
		"wider":            {func(c *jetstream.StreamConfig) { c.Subjects = []string{">"} }, ""},
		"narrower":         {func(c *jetstream.StreamConfig) { c.Subjects = []string{"test.here.>", "testing.>"} }, "subject test.>"},
		"work queue":       {func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy }, "retention"},
		"drops the oldest": {func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld }, "discard"},
		"shorter":          {func(c *jetstream.StreamConfig) { c.MaxAge = time.Minute }, "max age"},
		"forgets sooner":   {func(c *jetstream.StreamConfig) { c.Duplicates = time.Second }, "duplicate window"},
		"no batches":       {func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false }, "atomic publish"},
		"sealed":           {func(c *jetstream.StreamConfig) { c.Sealed = true }, "it is sealed"},
	} {
		have := good
		row.change(&have)
		lacks := strings.Join(stream.Lacks(have), "; ")
		if row.want == "" && lacks != "" || row.want != "" && !strings.HasPrefix(lacks, row.want) {
			t.Errorf("%s: %q, want %q", name, lacks, row.want)
		}
	}
}
