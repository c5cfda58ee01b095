package messaging

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
	messagingpb "github.com/ma-messagerie/messagerie/proto/messagerie/messaging/v1"
	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
	"github.com/ma-messagerie/messagerie/services/messaging/internal/text"
)

// errNoCatalogue is the answer until a first version of the taxonomy was seen.
var errNoCatalogue = rpc.Refuse(codes.Unavailable, errorpb.ErrorReason_TAXONOMY_UNAVAILABLE, "the taxonomy cannot be reached to check the selection; try again")

// errOutdated is a refusal of checkVersion, to be compared with.
var errOutdated = rpc.Invalid("taxonomyVersion", errorpb.ErrorReason_TAXONOMY_VERSION_OUTDATED, "the version has been replaced")

// catalogue is the taxonomy as this service knows it: the current version, asked
// for every few seconds, and older ones on demand. Every version seen is kept in
// this service's own database, so that submissions go on, and the process
// starts, while the taxonomy service is away. A version once stored never
// changes, so a kept one is never wrong, at worst not the newest.
type catalogue struct {
	client  taxonomypb.CatalogueServiceClient
	store   *store
	refresh time.Duration

	// asking is the one question to the taxonomy service that is under way, whoever
	// waits for it, and healthy whether the last one was answered.
	asking  singleflight.Group
	healthy bool

	// known is closed when there is a first version.
	known chan struct{}

	mu       sync.RWMutex
	current  int32
	versions map[int32]*taxonomypb.Catalogue
}

const (
	// askTimeout bounds one question to the taxonomy service.
	askTimeout = 10 * time.Second
	// askPatience is how long a call waits for an answer before it goes on with the
	// version that is known. Anybody can name a version that nobody has seen.
	askPatience = 2 * time.Second
)

func newCatalogue(client taxonomypb.CatalogueServiceClient, s *store, refresh time.Duration) *catalogue {
	return &catalogue{
		client: client, store: s, refresh: refresh, healthy: true,
		known: make(chan struct{}), versions: make(map[int32]*taxonomypb.Catalogue),
	}
}

// selection is a checked choice with its labels and routing.
type selection struct {
	version              int32
	theme, topic, reason *messagingpb.Choice
	queue                *taxonomypb.Queue
}

// run keeps the current version fresh until ctx is done.
func (c *catalogue) run(ctx context.Context) error {
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

// load takes the newest version from this service's own database, if any.
func (c *catalogue) load(ctx context.Context) error {
	kept, err := c.store.newestCatalogue(ctx)
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
func (c *catalogue) update(ctx context.Context) error {
	answer := c.asking.DoChan("", func() (any, error) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTimeout)
		defer cancel()
		err := c.askCurrent(ctx)
		if err != nil && c.healthy {
			slog.WarnContext(ctx, "asking for the taxonomy; going on with the version kept", "version", c.currentVersion(), "error", err)
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
func (c *catalogue) updateSoon(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, askPatience)
	defer cancel()
	return c.update(ctx)
}

func (c *catalogue) askCurrent(ctx context.Context) error {
	// Waiting for a service that is being started spares a whole tick.
	known := c.currentVersion()
	if c.held(known).GetTextLimits() == nil {
		known = 0 // kept from a taxonomy service that did not tell them yet
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

func (c *catalogue) keep(ctx context.Context, version *taxonomypb.Catalogue, current int32) error {
	if version.GetVersion() == 0 {
		return errors.New("the taxonomy service answered without a catalogue")
	}
	if err := c.store.saveCatalogue(ctx, version); err != nil {
		return err
	}
	c.adopt(version, current)
	return nil
}

func (c *catalogue) adopt(version *taxonomypb.Catalogue, current int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions[version.GetVersion()] = version
	if c.current == 0 && current != 0 {
		close(c.known)
	}
	c.current = max(c.current, current)
}

func (c *catalogue) currentVersion() int32 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.current
}

func (c *catalogue) held(version int32) *taxonomypb.Catalogue {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.versions[version]
}

// queueOf returns the service in charge as it was called in a version: from
// memory, from this service's database, or from the taxonomy service.
func (c *catalogue) queueOf(ctx context.Context, version int32, code string) (*taxonomypb.Queue, error) {
	held := c.held(version)
	if held == nil {
		var err error
		if held, err = c.fetch(ctx, version); err != nil {
			return nil, err
		}
	}
	return findQueue(held, code), nil
}

func (c *catalogue) fetch(ctx context.Context, version int32) (*taxonomypb.Catalogue, error) {
	kept, err := c.store.catalogue(ctx, version)
	if err != nil {
		return nil, err
	}
	if kept == nil {
		resp, err := c.client.GetCatalogue(ctx, &taxonomypb.GetCatalogueRequest{Version: version})
		if err != nil {
			return nil, fmt.Errorf("asking for version %d of the taxonomy: %w", version, err)
		}
		kept = resp.GetCatalogue()
		if err := c.store.saveCatalogue(ctx, kept); err != nil {
			return nil, err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.versions[version] = kept
	return kept, nil
}

// check answers whether a member of the audience may choose this, in the current
// version, and returns it with its labels.
func (c *catalogue) check(ctx context.Context, req *messagingpb.SubmitMessageRequest) (*selection, error) {
	if req.GetTaxonomyVersion() == 0 {
		return nil, rpc.Invalid("taxonomyVersion", errorpb.ErrorReason_TAXONOMY_VERSION_REQUIRED, "give the version that the selection was made in")
	}
	if req.GetTaxonomyVersion() > c.currentVersion() {
		// Perhaps published since the last look.
		_ = c.updateSoon(ctx) // which says so in the log; what is known decides
	}
	current := c.currentVersion()
	if current == 0 {
		return nil, errNoCatalogue
	}
	if err := checkVersion(req.GetTaxonomyVersion(), current); err != nil {
		return nil, err
	}
	return choose(c.held(current), req)
}

func checkVersion(given, current int32) error {
	numbers := []string{"given", strconv.Itoa(int(given)), "current", strconv.Itoa(int(current))}
	switch {
	case given < current:
		return rpc.Invalid("taxonomyVersion", errOutdated.Reason,
			fmt.Sprintf("version %d has been replaced by version %d: read the taxonomy again and let the member choose", given, current), numbers...)
	case given > current:
		return rpc.Invalid("taxonomyVersion", errorpb.ErrorReason_TAXONOMY_VERSION_UNKNOWN,
			fmt.Sprintf("version %d does not exist; the current one is %d", given, current), numbers...)
	}
	return nil
}

// choose walks down the tree of the audience.
func choose(version *taxonomypb.Catalogue, req *messagingpb.SubmitMessageRequest) (*selection, error) {
	tree := treeOf(version, req.GetAudience())
	chosen := &selection{version: version.GetVersion()}
	theme := findTheme(tree, req.GetTheme())
	if theme == nil {
		return nil, notThere(version, req, "theme", req.GetTheme())
	}
	chosen.theme = &messagingpb.Choice{Code: theme.GetTheme().GetCode(), Label: theme.GetTheme().GetLabel()}
	chosen.queue = findQueue(version, theme.GetQueue())
	if chosen.queue == nil {
		return nil, fmt.Errorf("theme %s of taxonomy %d names an unknown queue %q", req.GetTheme(), version.GetVersion(), theme.GetQueue())
	}
	topic := findTopic(theme, req.GetTopic())
	switch {
	case topic != nil:
		chosen.topic = &messagingpb.Choice{Code: topic.GetCode(), Label: topic.GetLabel()}
	case req.GetTopic() != "":
		return nil, notThere(version, req, "topic", req.GetTopic())
	case tree.GetDepth() >= taxonomypb.Depth_TOPIC || req.GetReason() != "":
		return nil, rpc.Invalid("topic", errorpb.ErrorReason_TOPIC_REQUIRED, "this audience chooses a topic before writing")
	}
	reason := findReason(topic, req.GetReason())
	switch {
	case reason != nil:
		chosen.reason = &messagingpb.Choice{Code: reason.GetCode(), Label: reason.GetLabel()}
	case req.GetReason() != "":
		return nil, notThere(version, req, "reason", req.GetReason())
	case tree.GetDepth() >= taxonomypb.Depth_REASON:
		return nil, rpc.Invalid("reason", errorpb.ErrorReason_REASON_REQUIRED, "this audience chooses a reason before writing")
	}
	return chosen, nil
}

// notThere tells a code that nobody has from one that only others may choose.
func notThere(version *taxonomypb.Catalogue, req *messagingpb.SubmitMessageRequest, field, code string) error {
	nowhere, notHere := errorpb.ErrorReason_THEME_UNKNOWN, errorpb.ErrorReason_THEME_NOT_FOR_AUDIENCE
	switch field {
	case "topic":
		nowhere, notHere = errorpb.ErrorReason_TOPIC_UNKNOWN, errorpb.ErrorReason_TOPIC_NOT_FOR_AUDIENCE
	case "reason":
		nowhere, notHere = errorpb.ErrorReason_REASON_UNKNOWN, errorpb.ErrorReason_REASON_NOT_FOR_AUDIENCE
	}
	for _, other := range version.GetAudiences() {
		theme := findTheme(other, req.GetTheme())
		topic := findTopic(theme, req.GetTopic())
		reason := findReason(topic, req.GetReason())
		if other.GetAudience() == req.GetAudience() {
			continue
		}
		if field == "theme" && theme != nil || field == "topic" && topic != nil || field == "reason" && reason != nil {
			return rpc.Invalid(field, notHere,
				fmt.Sprintf("%s %q is not open to %s", field, code, req.GetAudience()), "audience", req.GetAudience().String())
		}
	}
	return rpc.Invalid(field, nowhere, fmt.Sprintf("version %d has no %s %q here", version.GetVersion(), field, code))
}

// textLimits are how many characters a member's text may have, both included: the
// guide's, or what a version of the taxonomy narrows them to.
func textLimits(version *taxonomypb.Catalogue) text.Limits {
	given := version.GetTextLimits()
	narrowed := text.Limits{Min: max(text.OfMember.Min, int(given.GetMin())), Max: min(text.OfMember.Max, int(given.GetMax()))}
	if narrowed.Min <= narrowed.Max {
		return narrowed
	}
	return text.OfMember
}

// limitsFor are those for a text under the version that its writer knows. A version that
// is not current is refused, unless the text was taken under it: the guide's limits let
// it be compared with what was stored.
func (c *catalogue) limitsFor(version int32) text.Limits {
	if version != c.currentVersion() {
		return textLimits(nil)
	}
	return textLimits(c.held(version))
}

func treeOf(version *taxonomypb.Catalogue, audience taxonomypb.Audience) *taxonomypb.AudienceCatalogue {
	for _, tree := range version.GetAudiences() {
		if tree.GetAudience() == audience {
			return tree
		}
	}
	return nil
}

func findTheme(tree *taxonomypb.AudienceCatalogue, code string) *taxonomypb.CatalogueTheme {
	for _, theme := range tree.GetThemes() {
		if theme.GetTheme().GetCode() == code {
			return theme
		}
	}
	return nil
}

func findTopic(theme *taxonomypb.CatalogueTheme, code string) *taxonomypb.Topic {
	for _, topic := range theme.GetTheme().GetTopics() {
		if topic.GetCode() == code {
			return topic
		}
	}
	return nil
}

func findReason(topic *taxonomypb.Topic, code string) *taxonomypb.Reason {
	for _, reason := range topic.GetReasons() {
		if reason.GetCode() == code {
			return reason
		}
	}
	return nil
}

func findQueue(version *taxonomypb.Catalogue, code string) *taxonomypb.Queue {
	for _, queue := range version.GetQueues() {
		if queue.GetCode() == code {
			return queue
		}
	}
	return nil
}

// decodeCatalogue reads a version as it was kept.
func decodeCatalogue(payload []byte) (*taxonomypb.Catalogue, error) {
	version := &taxonomypb.Catalogue{}
	if err := proto.Unmarshal(payload, version); err != nil {
		return nil, fmt.Errorf("reading a kept taxonomy: %w", err)
	}
	return version, nil
}
