// Package taxonomy keeps what members may choose from, so that not every page has to ask
// for it again: it is the same for all, and changes a few times a year.
//
// # What is promised
//
// A tree is kept as long as its answer says (Cache-Control: max-age, ten minutes at most),
// one for each audience. Requests that miss it at the same moment ask once. While the
// gateway is away, the last tree is good for ten minutes more.
//
// The taxonomy is public, so it is read without anybody's token: others may wait for the same
// answer, which must not depend on one person's sign-in.
//
// # When it breaks
//
// Between a publication and the end of max-age, pages offer the version before. A message
// with a choice from it is refused by the messaging service with
// TAXONOMY_VERSION_OUTDATED; Forget then drops the tree, and the next page has the new
// one. gRPC has no conditional request, so a tree that is asked for again comes whole.
package taxonomy

import (
	"context"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	taxonomypb "github.com/ma-messagerie/messagerie/proto/messagerie/taxonomy/v1"
)

const (
	// askTimeout bounds one question to the gateway.
	askTimeout = 5 * time.Second
	// keptMost bounds how long an answer is fresh, and how long after that it is used while
	// there is no other.
	keptMost = 10 * time.Minute
	// pause is how long the gateway is not asked again after it could not answer.
	pause = 5 * time.Second
)

// Trees are the trees of the audiences.
type Trees struct {
	client taxonomypb.TaxonomyServiceClient
	asking singleflight.Group

	mu   sync.Mutex
	kept map[taxonomypb.Audience]kept
}

// kept is a tree that is fresh until one time, and may be used until a later one while the
// gateway is away. Nobody may change it.
type kept struct {
	tree        *taxonomypb.GetTaxonomyResponse
	fresh, good time.Time
}

// NewTrees keeps what client answers.
func NewTrees(client taxonomypb.TaxonomyServiceClient) *Trees {
	return &Trees{client: client, kept: make(map[taxonomypb.Audience]kept)}
}

// Tree is what an audience may choose from. It is shared: do not modify it.
func (t *Trees) Tree(ctx context.Context, audience taxonomypb.Audience) (*taxonomypb.GetTaxonomyResponse, error) {
	if held, ok := t.held(audience); ok && time.Now().Before(held.fresh) {
		return held.tree, nil
	}
	asked := t.asking.DoChan(audience.String(), func() (any, error) { return t.ask(ctx, audience) })
	select {
	case answer := <-asked:
		tree, _ := answer.Val.(*taxonomypb.GetTaxonomyResponse)
		return tree, answer.Err
	case <-ctx.Done():
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// Forget drops an audience's tree if it is of this version, which has been replaced.
func (t *Trees) Forget(audience taxonomypb.Audience, version int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.kept[audience].tree.GetVersion() == version {
		delete(t.kept, audience)
	}
}

func (t *Trees) held(audience taxonomypb.Audience) (kept, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	held, ok := t.kept[audience]
	return held, ok
}

// ask fetches a tree for all who wait, even if one of them leaves.
func (t *Trees) ask(ctx context.Context, audience taxonomypb.Audience) (*taxonomypb.GetTaxonomyResponse, error) {
	ctx, cancel := context.WithTimeout(metadata.NewOutgoingContext(context.WithoutCancel(ctx), nil), askTimeout)
	defer cancel()
	var header metadata.MD
	tree, err := t.client.GetTaxonomy(ctx, &taxonomypb.GetTaxonomyRequest{Audience: audience}, grpc.Header(&header))
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		held, ok := t.kept[audience]
		if !ok || !isAway(err) || now.After(held.good) {
			return nil, err
		}
		held.fresh = now.Add(pause)
		t.kept[audience] = held
		return held.tree, nil
	}
	fresh := now.Add(maxAge(header))
	t.kept[audience] = kept{tree: tree, fresh: fresh, good: fresh.Add(keptMost)}
	return tree, nil
}

// isAway reports whether the gateway or the service behind it could not answer.
func isAway(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Canceled:
		return true
	default:
		return false
	}
}

// maxAge is how long an answer says that it may be used again.
func maxAge(header metadata.MD) time.Duration {
	for _, value := range header.Get("cache-control") {
		for part := range strings.SplitSeq(value, ",") {
			given, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(part)), "max-age=")
			if seconds, err := strconv.ParseUint(given, 10, 31); ok && err == nil {
				return min(time.Duration(seconds)*time.Second, keptMost)
			}
		}
	}
	return 0
}
