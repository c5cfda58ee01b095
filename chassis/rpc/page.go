package rpc

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/auth"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

// ErrPageToken is the refusal of a page token that does not belong to this list, or not to
// this caller.
var ErrPageToken = Invalid("pageToken", errorpb.ErrorReason_PAGE_TOKEN_INVALID, "give the nextPageToken of the page before, unchanged, with the same filters")

// ListRequest is a request for one page of a list.
type ListRequest interface {
	proto.Message
	GetPageToken() string
}

// pageMark is how many bytes of a token identify what it is for.
const pageMark = 8

// PageToken encodes the key of a page's last entry as the token of the next page. It is valid
// for the same caller, method and filters alone (AIP-158); the page size may change. It is
// neither a secret nor a permission: it holds what the page before has shown, and each page
// is authorised by itself.
func PageToken(ctx context.Context, req ListRequest, key []byte) string {
	mark := markOf(ctx, req, key)
	return base64.RawURLEncoding.EncodeToString(append(mark[:], key...))
}

// PageKey returns the key in a request's token: nil for the first page, ErrPageToken for a
// token that was made for another caller, method or filter, or was changed.
func PageKey(ctx context.Context, req ListRequest) ([]byte, error) {
	if req.GetPageToken() == "" {
		return nil, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(req.GetPageToken())
	if err != nil || len(raw) <= pageMark || [pageMark]byte(raw) != markOf(ctx, req, raw[pageMark:]) {
		return nil, ErrPageToken
	}
	return raw[pageMark:], nil
}

// markOf is a digest of the caller, the method, the filters and the key.
func markOf(ctx context.Context, req ListRequest, key []byte) [pageMark]byte {
	filters := proto.Clone(req).ProtoReflect()
	fields := filters.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"page_token", "page_size"} {
		if field := fields.ByName(name); field != nil {
			filters.Clear(field)
		}
	}
	filters.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		if field.IsList() && field.Enum() != nil {
			inOrder(value.List())
		}
		return true
	})
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(filters.Interface())
	if err != nil {
		text = fmt.Append(nil, err) // a request that was read can be written
	}
	var caller string
	if id := auth.FromContext(ctx); id != nil {
		caller = id.Subject
	}
	sum := sha256.New()
	for _, part := range []string{string(filters.Descriptor().FullName()), caller, string(text), string(key)} {
		sum.Write(binary.AppendUvarint(nil, uint64(len(part))))
		sum.Write([]byte(part))
	}
	return [pageMark]byte(sum.Sum(nil))
}

// inOrder sorts the values of an enum's filter, which selects the same in any order.
func inOrder(list protoreflect.List) {
	values := make([]protoreflect.EnumNumber, list.Len())
	for i := range values {
		values[i] = list.Get(i).Enum()
	}
	slices.Sort(values)
	for i, value := range values {
		list.Set(i, protoreflect.ValueOfEnum(value))
	}
}
