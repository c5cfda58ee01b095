// Package etag has the entity tags of answers (RFC 9110, 8.8.3), which cross gRPC as the
// metadata etag, and the conditions by which callers name them: If-Match and If-None-Match.
//
// A change that names a tag in if-match is made if the thing is still what the answer with
// that tag showed, and otherwise refused, over REST with 412: nobody answers a message that
// they have not read, and of two windows with one draft none overwrites the other's. The
// package of the change compares the tags, under its lock.
package etag

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"slices"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// tagBytes is how much of a hash is in a tag.
const tagBytes = 8

// Hash is a tag of what the parts say.
func Hash(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:tagBytes])
}

// Set puts a tag on the answer.
func Set(ctx context.Context, tag string) {
	if err := grpc.SetHeader(ctx, metadata.Pairs("etag", `"`+tag+`"`)); err != nil {
		slog.DebugContext(ctx, "setting a tag", "error", err)
	}
}

// The conditions, by their metadata.
const (
	ifMatch     = "if-match"
	ifNoneMatch = "if-none-match"
)

// Condition is a call's If-Match or If-None-Match.
type Condition struct {
	// Any: "*", anything that there is. Else one of Tags, which have no quotes.
	Any  bool
	Tags []string
}

// IfMatch is the call's If-Match, nil for none. Weak tags match nothing (RFC 9110, 13.1.1).
func IfMatch(ctx context.Context) *Condition { return conditionOf(ctx, ifMatch) }

// IfNoneMatch is the call's If-None-Match, nil for none. Weak tags match as strong ones do
// (RFC 9110, 13.1.2).
func IfNoneMatch(ctx context.Context) *Condition { return conditionOf(ctx, ifNoneMatch) }

func conditionOf(ctx context.Context, name string) *Condition {
	values := metadata.ValueFromIncomingContext(ctx, name)
	if len(values) == 0 {
		return nil
	}
	c := &Condition{}
	for tag := range strings.SplitSeq(values[0], ",") {
		tag = strings.TrimSpace(tag)
		if name == ifNoneMatch {
			tag = strings.TrimPrefix(tag, "W/")
		}
		switch {
		case tag == "*":
			c.Any = true
		case strings.HasPrefix(tag, `"`) && strings.HasSuffix(tag, `"`) && len(tag) > 1:
			c.Tags = append(c.Tags, tag[1:len(tag)-1])
		}
	}
	return c
}

// Names reports whether the condition names the tag, or anything.
func (c *Condition) Names(tag string) bool { return c.Any || slices.Contains(c.Tags, tag) }
