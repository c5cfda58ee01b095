package rpc

import (
	"context"
	"slices"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// unreadName is the metadata with what the gateway could not read of a request: a
// google.rpc.BadRequest.
const unreadName = "unread-bin"

// MarkUnread marks a request that could be read only in part. The service adds its own faults
// to those given and refuses it with all of them. Every service refuses the mark, also one
// that does not know the metadata, so a part of a request is never carried out.
func MarkUnread(md metadata.MD, req proto.Message, unread []Violation) {
	bad := &errdetails.BadRequest{}
	for _, v := range unread {
		bad.FieldViolations = append(bad.FieldViolations, &errdetails.BadRequest_FieldViolation{Field: v.Field, Reason: v.Reason.String(), Description: v.Description})
	}
	// If they cannot be encoded they are left out; the mark alone has the call refused.
	if text, err := proto.Marshal(bad); err == nil {
		md.Set(unreadName, string(text))
	}
	req.ProtoReflect().SetUnknown(unreadable)
}

// unreadOf returns what could not be read of a marked request; nothing if its bytes were not
// a message at all.
func unreadOf(ctx context.Context) (faults []Violation) {
	bad := &errdetails.BadRequest{}
	values := metadata.ValueFromIncomingContext(ctx, unreadName)
	if len(values) != 1 || proto.Unmarshal([]byte(values[0]), bad) != nil {
		return nil
	}
	for _, v := range bad.GetFieldViolations() {
		faults = append(faults, Violation{Field: v.GetField(), Reason: errorpb.ErrorReason(errorpb.ErrorReason_value[v.GetReason()]), Description: v.GetDescription()})
	}
	return faults[:min(len(faults), maxFaults)]
}

// blursFilters reports whether the filters of a list may not be what its caller meant, so
// that its page token cannot be checked against them.
func blursFilters(unread []Violation) bool {
	return slices.ContainsFunc(unread, func(v Violation) bool {
		return v.Reason != errorpb.ErrorReason_PARAMETER_UNKNOWN && v.Reason != errorpb.ErrorReason_FIELD_UNKNOWN && v.Field != "pageSize"
	})
}
