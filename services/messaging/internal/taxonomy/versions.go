// Package taxonomy is the taxonomy as this service has seen it: which version is current, what
// is in it and in older ones, and whether a member may choose what they chose.
//
// # What is promised
//
// Submissions go on, and the process starts, while the taxonomy service is away: with the
// last version seen, which is never wrong, at worst not the newest. The current version never
// goes back. How: every version seen is kept in this service's own database, where it never
// changes; the current one is asked for every few seconds, and when somebody names a newer
// one; older ones on demand.
//
// # When it breaks
//
// Until a first version was seen, nothing can be checked ([ErrNoVersion], [Versions.Known]).
package taxonomy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/postgres"
	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// Versions are those that were seen, the current one among them.
type Versions struct {
	client  taxonomypb.CatalogueServiceClient
	pool    *pgxpool.Pool
	refresh time.Duration

	// asking is the one question to the taxonomy service that is under way, whoever
	// waits for it, and healthy whether the last one was answered.
	asking  singleflight.Group
	healthy bool

	// first is closed when there is a first version.
	first chan struct{}

	mu       sync.RWMutex
	current  int32
	versions map[int32]*taxonomypb.Catalogue
}

// Run keeps the current version fresh until ctx is done.
func (c *Versions) Run(ctx context.Context) error {
	ticker := time.NewTicker(c.refresh)
	defer ticker.Stop()
	for {
		_ = c.update(ctx) // which says so in the log
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Load takes the newest version from this service's own database, if any.
func (c *Versions) Load(ctx context.Context) error {
	kept, err := c.newest(ctx)
	if err != nil {
		return err
	}
	if kept != nil {
		c.adopt(kept, kept.GetVersion())
	}
	return nil
}

// update asks the taxonomy service which version is current, and for it if it
// is new. Callers at the same time wait for one answer, each as long as it can: at
// the start, every submission needs it. The one that asks may leave.
func (c *Versions) update(ctx context.Context) error {
	answer := c.asking.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		err := c.askCurrent(ctx)
		if err != nil && c.healthy {
			slog.WarnContext(ctx, "asking for the taxonomy; going on with the version kept", "version", c.Number(), "error", err)
		}
		c.healthy = err == nil
		return nil, err
	})
	select {
	case done := <-answer:
		return done.Err
	case <-ctx.Done():
		return fmt.Errorf("waiting for the current taxonomy: %w", ctx.Err())
	}
}

// updateSoon is update for a call, which has no time to wait for long.
func (c *Versions) updateSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return c.update(ctx)
}

func (c *Versions) askCurrent(ctx context.Context) error {
	// Waiting for a service that is being started spares a whole tick.
	known := c.Number()
	if c.Held(known).GetTextLimits() == nil {
		known = 0 // kept from a taxonomy service that did not have them yet
	}
	resp, err := c.client.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{KnownVersion: known}, grpc.WaitForReady(true))
	if err != nil {
		return fmt.Errorf("asking for the current taxonomy: %w", err)
	}
	if resp.GetUnchanged() {
		return nil
	}
	return c.keep(ctx, resp.GetCatalogue(), resp.GetCurrentVersion())
}

func (c *Versions) keep(ctx context.Context, version *taxonomypb.Catalogue, current int32) error {
	if version.GetVersion() == 0 {
		return errors.New("the taxonomy service answered without a catalogue")
	}
	if err := c.save(ctx, version); err != nil {
		return err
	}
	c.adopt(version, current)
	return nil
}

func (c *Versions) adopt(version *taxonomypb.Catalogue, current int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions[version.GetVersion()] = version
	if c.current == 0 && current != 0 {
		close(c.first)
	}
	c.current = max(c.current, current)
}

// Number is that of the current version; 0 until there is one.
func (c *Versions) Number() int32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.current
}

// Held returns a version that is in memory, or nil.
func (c *Versions) Held(version int32) *taxonomypb.Catalogue {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.versions[version]
}

// QueueOf returns the service in charge as it was called in a version: from
// memory, from this service's database, or from the taxonomy service.
func (c *Versions) QueueOf(ctx context.Context, version int32, code string) (*taxonomypb.Queue, error) {
	held := c.Held(version)
	if held == nil {
		var err error
		if held, err = c.fetch(ctx, version); err != nil {
			return nil, err
		}
	}
	return Queue(held, code), nil
}

func (c *Versions) fetch(ctx context.Context, version int32) (*taxonomypb.Catalogue, error) {
	found, err := c.Kept(ctx, version)
	if err != nil {
		return nil, err
	}
	if found == nil {
		resp, err := c.client.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{Version: version})
		if err != nil {
			return nil, fmt.Errorf("asking for version %d of the taxonomy: %w", version, err)
		}
		found = resp.GetCatalogue()
		if err := c.save(ctx, found); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions[version] = found
	return found, nil
}

// Check returns a selection with its labels and its queue, if a member of the audience may
// choose it in the current version; [ErrOutdated] where the version given is an older one.
func (c *Versions) Check(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*Selection, error) {
	version, err := c.CheckCurrent(ctx, req.GetTaxonomyVersion())
	if err != nil {
		return nil, err
	}
	return Choose(version, req)
}

// CheckCurrent returns the current version if it is the one given.
func (c *Versions) CheckCurrent(ctx context.Context, given int32) (*taxonomypb.Catalogue, error) {
	if given == 0 {
		return nil, rpc.Invalid("taxonomyVersion", errorpb.ErrorReason_TAXONOMY_VERSION_REQUIRED, "give the version that the selection was made in")
	}
	if given > c.Number() {
		// Perhaps published since the last look.
		_ = c.updateSoon(ctx) // which says so in the log; what is known decides
	}
	current := c.Number()
	if current == 0 {
		return nil, ErrNoVersion
	}
	if err := checkVersion(given, current); err != nil {
		return nil, err
	}
	return c.Held(current), nil
}

// save keeps a version of the taxonomy.
func (c *Versions) save(ctx context.Context, version *taxonomypb.Catalogue) error {
	payload, err := proto.Marshal(version)
	if err != nil {
		return fmt.Errorf("writing taxonomy %d: %w", version.GetVersion(), err)
	}
	_, err = postgres.Exec(ctx, c.pool, "keeping a taxonomy", `INSERT INTO catalogue (version, payload) VALUES ($1, $2) ON CONFLICT DO NOTHING`, version.GetVersion(), payload)
	return err
}

// Kept returns a version from this service's database, or nil.
func (c *Versions) Kept(ctx context.Context, version int32) (*taxonomypb.Catalogue, error) {
	return c.read(ctx, `SELECT payload FROM catalogue WHERE version = $1`, version)
}

// newest returns the kept version with the highest number, or nil.
func (c *Versions) newest(ctx context.Context) (*taxonomypb.Catalogue, error) {
	return c.read(ctx, `SELECT payload FROM catalogue ORDER BY version DESC LIMIT 1`)
}

func (c *Versions) read(ctx context.Context, sql string, args ...any) (*taxonomypb.Catalogue, error) {
	payload, err := postgres.One[[]byte](ctx, c.pool, "reading a kept taxonomy", sql, args...)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, nil //nolint:nilnil // absence is not a fault here
	}
	if err != nil {
		return nil, err
	}
	return decode(payload)
}

// Current is the current version, as far as is known. It is asked for when none is.
func (c *Versions) Current(ctx context.Context) (*taxonomypb.Catalogue, error) {
	if current := c.Held(c.Number()); current != nil {
		return current, nil
	}
	if err := c.updateSoon(ctx); err != nil {
		return nil, ErrNoVersion.Because(err)
	}
	return c.Held(c.Number()), nil
}

// Known is closed when there is a first version.
func (c *Versions) Known() <-chan struct{} { return c.first }

// ErrNoVersion is the refusal until a first version was seen.
var ErrNoVersion = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_TAXONOMY_UNAVAILABLE, "the taxonomy cannot be reached to check the selection; try again")

const (
	// askTimeout bounds one question to the taxonomy service.
	askTimeout = 10 * time.Second
	// askPatience is how long a call waits for an answer before it goes on with the
	// version that is known. Anybody can name a version that nobody has seen.
	askPatience = 2 * time.Second
)

// New returns versions that are asked of the client every so often, and kept in the pool's
// database.
func New(client taxonomypb.CatalogueServiceClient, pool *pgxpool.Pool, refresh time.Duration) *Versions {
	return &Versions{
		client: client, pool: pool, refresh: refresh, healthy: true,
		first: make(chan struct{}), versions: make(map[int32]*taxonomypb.Catalogue),
	}
}

// decode reads a version as it was kept.
func decode(payload []byte) (*taxonomypb.Catalogue, error) {
	version := &taxonomypb.Catalogue{}
	if err := proto.Unmarshal(payload, version); err != nil {
		return nil, fmt.Errorf("reading a kept taxonomy: %w", err)
	}
	return version, nil
}

// limits are how many characters a member's text may have: the guide's, or what a version of
// the taxonomy narrows them to.
func limits(tax *taxonomypb.Catalogue) text.Limits {
	given := tax.GetTextLimits()
	narrowed := text.Limits{Min: max(text.OfMember.Min, int(given.GetMin())), Max: min(text.OfMember.Max, int(given.GetMax()))}
	if narrowed.Min <= narrowed.Max {
		return narrowed
	}
	return text.OfMember
}

// LimitsForFollowUp are those of what a member adds to a message: as long as one, and as short as
// people answer.
func (c *Versions) LimitsForFollowUp() text.Limits {
	return text.Limits{Min: text.OfFollowUp.Min, Max: c.LimitsFor(c.Number()).Max}
}

// LimitsFor are those for a text under the version that its writer knows. A version that is
// not current is refused, unless the text was taken under it: the guide's limits let it be
// compared with what was stored.
func (c *Versions) LimitsFor(version int32) text.Limits {
	if version != c.Number() {
		return text.OfMember
	}
	return limits(c.Held(version))
}
