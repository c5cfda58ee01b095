package rpc

import (
	"context"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

const (
	// IdempotencyKeyName is the metadata that names a call of a method whose rule is KEYED,
	// and the header of REST.
	IdempotencyKeyName = "idempotency-key"
	// ReplayedName is the metadata of an answer, and the header of REST, that is "true" if
	// the call was made before and changed nothing now.
	ReplayedName = "idempotent-replayed"
)

type keyContext struct{}

// IdempotencyKey returns the key that the caller of a KEYED method has given.
func IdempotencyKey(ctx context.Context) uuid.UUID {
	key, _ := ctx.Value(keyContext{}).(uuid.UUID)
	return key
}

// Replayed marks the answer as that of an earlier call.
func Replayed(ctx context.Context) {
	if err := grpc.SetHeader(ctx, metadata.Pairs(ReplayedName, "true")); err != nil {
		slog.DebugContext(ctx, "marking an answer as that of an earlier call", "error", err)
	}
}

// keyed passes on the key of a call of a KEYED method, or what is wrong with it: input reports
// that together with the other faults.
func (s *Server) keyed(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if s.guard.Policy[info.FullMethod].Idempotency != accesspb.Idempotency_IDEMPOTENCY_KEYED {
		return next(ctx, req)
	}
	key, err := parseKey(metadata.ValueFromIncomingContext(ctx, IdempotencyKeyName))
	if err != nil {
		return next(context.WithValue(ctx, keyContext{}, err), req)
	}
	return next(context.WithValue(ctx, keyContext{}, key), req)
}

// CheckKey returns what is wrong with the values of an idempotency key's header, if anything.
func CheckKey(values []string) error {
	_, err := parseKey(values)
	return err
}

// parseKey reads a key. REST clients may have put it in quotes, as the IETF draft
// (draft-ietf-httpapi-idempotency-key-header) writes it.
func parseKey(values []string) (uuid.UUID, error) {
	if len(values) == 0 || values[0] == "" {
		return uuid.Nil, Invalid(IdempotencyKeyName, errorpb.ErrorReason_IDEMPOTENCY_KEY_REQUIRED, "give a UUID of your own, the same when you try again")
	}
	key, err := uuid.Parse(strings.Trim(values[0], `"`))
	if err != nil || len(values) > 1 || key == uuid.Nil {
		return uuid.Nil, Invalid(IdempotencyKeyName, errorpb.ErrorReason_IDEMPOTENCY_KEY_INVALID, "the key is not one UUID")
	}
	return key, nil
}
