package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ma-messagerie/messagerie/chassis/rpc"
	errorpb "github.com/ma-messagerie/messagerie/proto/messagerie/error/v1"
)

var (
	errNotJSON = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_MEDIA_TYPE_UNSUPPORTED,
		"send the body as JSON in UTF-8, not compressed, with the header Content-Type: application/json (curl: -H 'Content-Type: application/json')")
	errUnreadable = rpc.Refuse(codes.InvalidArgument, errorpb.ErrorReason_BODY_UNREADABLE, "the connection broke, or was too slow, before the body was whole")
)

// body is a request's JSON, whole. It carries the decoder's refusal to where the
// answer is written, because the generated code in between keeps only its text.
type body struct {
	data    []byte
	rest    *bytes.Reader
	refusal error
}

// readBody reads a request's body, for as long as the connection's read deadline
// allows.
func readBody(w http.ResponseWriter, r *http.Request) (*body, error) {
	if r.ContentLength > maxRequestBytes {
		return nil, errTooLarge // who waits for "100 Continue" need not send it
	}
	var buf bytes.Buffer
	_, err := buf.ReadFrom(http.MaxBytesReader(w, r.Body, maxRequestBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, errTooLarge
	case err != nil:
		return nil, errUnreadable.Because(err)
	case buf.Len() > 0 && !isJSON(r.Header):
		return nil, errNotJSON
	}
	return &body{data: buf.Bytes(), rest: bytes.NewReader(buf.Bytes())}, nil
}

func (b *body) Read(p []byte) (int, error) { return b.rest.Read(p) }
func (*body) Close() error                 { return nil }

// strictJSON is the JSON of the REST side. What it writes: names in camelCase,
// enums by name, false, 0, "" and [] shown, absent messages left out. What it
// reads: one object in UTF-8, without unknown or repeated names, lone surrogates
// or anything after it.
type strictJSON struct{ runtime.JSONPb }

func newStrictJSON() *strictJSON {
	return &strictJSON{runtime.JSONPb{MarshalOptions: protojson.MarshalOptions{EmitDefaultValues: true}}}
}

// NewDecoder implements runtime.Marshaler.
func (m *strictJSON) NewDecoder(r io.Reader) runtime.Decoder {
	b, ok := r.(*body)
	if !ok {
		return m.JSONPb.NewDecoder(r)
	}
	return runtime.DecoderFunc(b.decode)
}

// decode reads the body into a message. An empty body is an empty message, for
// methods whose path says it all.
func (b *body) decode(v any) error {
	msg, ok := v.(proto.Message)
	if !ok {
		return fmt.Errorf("decoding into %T: not a message", v)
	}
	if len(bytes.TrimSpace(b.data)) == 0 {
		return io.EOF
	}
	if err := protojson.Unmarshal(b.data, msg); err != nil {
		b.refusal = explain(b.data, msg.ProtoReflect().Type())
	}
	return b.refusal
}

// explain says all that is wrong with a body that protojson has refused. protojson's
// own text is no contract and may quote what a member wrote.
func explain(data []byte, typ protoreflect.MessageType) *rpc.Error {
	switch {
	case !utf8.Valid(data):
		return rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not valid UTF-8")
	case !json.Valid(data):
		return rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not one JSON value")
	}
	if faults := explainObject(data, typ, "", nil); len(faults) > 0 {
		return rpc.InvalidAll(faults)
	}
	return rpc.Invalid("body", errorpb.ErrorReason_JSON_MALFORMED, "is not what this method takes")
}

// maxFaults bounds a refusal, whose length a caller could choose otherwise.
const maxFaults = 20

// explainObject appends the faulty members of a JSON object; path is that of the object,
// empty or ending in a full stop.
func explainObject(data []byte, typ protoreflect.MessageType, path string, faults []rpc.Violation) []rpc.Violation {
	decoder := json.NewDecoder(bytes.NewReader(data))
	if token, err := decoder.Token(); err != nil || token != json.Delim('{') {
		return append(faults, rpc.Violation{Field: fieldName(strings.TrimSuffix(path, ".")), Reason: errorpb.ErrorReason_JSON_MALFORMED, Description: "is not a JSON object"})
	}
	seen := make(map[protoreflect.Name]bool)
	for decoder.More() && len(faults) < maxFaults {
		token, err := decoder.Token()
		name, _ := token.(string)
		var value json.RawMessage
		if err != nil || decoder.Decode(&value) != nil {
			return faults
		}
		fields := typ.Descriptor().Fields()
		field := fields.ByJSONName(name)
		if field == nil {
			field = fields.ByTextName(name)
		}
		switch {
		case field == nil:
			faults = append(faults, rpc.Violation{Field: fieldName(path + name), Reason: errorpb.ErrorReason_FIELD_UNKNOWN, Description: "this method has no such field"})
			continue
		case seen[field.Name()]:
			faults = append(faults, rpc.Violation{Field: fieldName(path + name), Reason: errorpb.ErrorReason_FIELD_DUPLICATE, Description: "is given twice"})
			continue
		}
		seen[field.Name()] = true
		faults = explainValue(value, field, typ, path, faults)
	}
	return faults
}

// explainValue tries one member alone.
func explainValue(value json.RawMessage, field protoreflect.FieldDescriptor, typ protoreflect.MessageType, path string, faults []rpc.Violation) []rpc.Violation {
	alone := slices.Concat([]byte(`{"`+field.JSONName()+`":`), value, []byte(`}`))
	msg := typ.New()
	if protojson.Unmarshal(alone, msg.Interface()) == nil {
		return faults
	}
	// Times, durations and masks are texts in JSON.
	if field.Message() != nil && field.Message().ParentFile().Package() != "google.protobuf" && !field.IsList() && !field.IsMap() {
		inner := msg.NewField(field).Message().Type()
		if within := explainObject(value, inner, path+field.JSONName()+".", faults); len(within) > len(faults) {
			return within
		}
	}
	return append(faults, rpc.Violation{Field: path + field.JSONName(), Reason: misfit(field), Description: "is not " + kindOf(field)})
}

// misfit is the reason of a value that its field cannot hold: an enum's is the same as over
// gRPC, where its number is read and its rule refuses it.
func misfit(field protoreflect.FieldDescriptor) errorpb.ErrorReason {
	if field.Enum() != nil {
		return errorpb.ErrorReason_VALUE_UNKNOWN
	}
	return errorpb.ErrorReason_VALUE_INVALID
}

// kindOf says what a field takes.
func kindOf(field protoreflect.FieldDescriptor) string {
	kind := "a valid " + field.Kind().String()
	switch {
	case field.Enum() != nil:
		var names []string
		for i := range field.Enum().Values().Len() {
			if value := field.Enum().Values().Get(i); value.Number() != 0 {
				names = append(names, string(value.Name()))
			}
		}
		kind = "one of " + strings.Join(names, ", ")
	case field.Kind() == protoreflect.BoolKind:
		kind = "true or false"
	case field.Kind() == protoreflect.StringKind:
		kind = "a valid Unicode string"
	case field.Message() != nil && field.Message().FullName() == "google.protobuf.FieldMask":
		kind = "names of fields in camelCase, with commas between"
	case field.Message() != nil:
		kind = "a valid " + string(field.Message().Name())
	}
	if field.IsList() {
		return "a list of which each is " + kind
	}
	return kind
}

var plainName = regexp.MustCompile(`^[A-Za-z0-9_.]{1,64}$`)

// fieldName gives back a name that the caller wrote if it looks like one.
func fieldName(name string) string {
	if plainName.MatchString(name) {
		return name
	}
	return "body"
}

var errBadQuery = rpc.Invalid("query", errorpb.ErrorReason_QUERY_MALFORMED, "cannot be read")

// checkQuery refuses parameters that the method does not have, that come twice
// or that do not fit their field: the generated code would ignore the first and
// quote the others.
func checkQuery(rt *route, rawQuery string) error {
	if rawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(rawQuery)
	if err != nil {
		return errBadQuery
	}
	var faults []rpc.Violation
	for name, list := range values {
		if v, ok := checkParameter(rt, name, list); !ok {
			faults = append(faults, v)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	slices.SortFunc(faults, func(a, b rpc.Violation) int { return strings.Compare(a.Field, b.Field) })
	return rpc.InvalidAll(faults[:min(len(faults), maxFaults)])
}

func checkParameter(rt *route, name string, values []string) (fault rpc.Violation, ok bool) {
	field := rt.query[name]
	switch {
	case field == nil && plainName.MatchString(name):
		return rpc.Violation{Field: name, Reason: errorpb.ErrorReason_PARAMETER_UNKNOWN, Description: "this method has no such parameter"}, false
	case field == nil:
		return rpc.Violation{Field: "query", Reason: errorpb.ErrorReason_PARAMETER_UNKNOWN, Description: "this method has no such parameter"}, false
	case len(values) > 1 && !field.IsList():
		return rpc.Violation{Field: name, Reason: errorpb.ErrorReason_PARAMETER_DUPLICATE, Description: "is given twice"}, false
	}
	for _, value := range values {
		msg := rt.input.New().Interface()
		if !utf8.ValidString(value) || runtime.PopulateFieldFromPath(msg, string(field.Name()), value) != nil {
			return rpc.Violation{Field: name, Reason: misfit(field), Description: "is not " + kindOf(field)}, false
		}
	}
	return rpc.Violation{}, true
}
