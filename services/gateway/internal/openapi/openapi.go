// Package openapi writes services/gateway/openapi.json, the one description of the REST
// side, from the .proto files. The gateway serves the file as it is; `make generate` writes
// it, and nobody edits it.
//
// # Where each part comes from
//
// Paths and bodies come from google.api.http, who may call from messagerie.access.v1, texts
// from the comments: the first sentence of a method's is its summary. Bounds and required
// members of a request come from the rules of protovalidate. In an answer everything that
// protojson always writes is required, and so is a message, unless google.api.field_behavior
// says that its field is OPTIONAL. A field that is OUTPUT_ONLY is readOnly.
//
// A message may be part of requests and of answers. Its schema for requests then has
// "Input" at the end of its name: it refuses unknown members, and requires others.
//
// What the .proto cannot say is in the tables of operation.go and example.go. The tests of
// dev/stack hold the running system against the document.
package openapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	accesspb "github.com/ma-messagerie/messagerie/proto/messagerie/access/v1"
)

// Generate writes the document of all services in an image, a
// google.protobuf.FileDescriptorSet with comments, as `buf build` makes it.
func Generate(image io.Reader, out io.Writer) error {
	content, err := io.ReadAll(image)
	if err != nil {
		return fmt.Errorf("reading the image: %w", err)
	}
	// The types of the options are linked into this program.
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(content, &set); err != nil {
		return fmt.Errorf("reading the image: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return fmt.Errorf("reading the image: %w", err)
	}
	d := &document{schemas: make(map[string]object), statuses: make(map[int]bool), answered: make(map[protoreflect.FullName]bool)}
	var ops []*operation
	for _, service := range servicesOf(files) {
		for i := range service.Methods().Len() {
			forms, err := d.operations(service.Methods().Get(i))
			if err != nil {
				return err
			}
			for _, op := range forms {
				ops = append(ops, op)
				d.find(op.desc.Output())
			}
		}
	}
	for _, op := range ops {
		item := d.item(op.path)
		item.operations = append(item.operations, member{op.verb, op.describe()})
	}
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(d.whole()); err != nil {
		return fmt.Errorf("writing the document: %w", err)
	}
	return nil
}

// servicesOf are this system's own services, in the order of their files.
func servicesOf(files interface {
	RangeFiles(func(protoreflect.FileDescriptor) bool)
},
) []protoreflect.ServiceDescriptor {
	var found []protoreflect.FileDescriptor
	files.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if strings.HasPrefix(string(file.Package()), "messagerie.") {
			found = append(found, file)
		}
		return true
	})
	slices.SortFunc(found, func(a, b protoreflect.FileDescriptor) int { return strings.Compare(a.Path(), b.Path()) })
	var services []protoreflect.ServiceDescriptor
	for _, file := range found {
		for i := range file.Services().Len() {
			services = append(services, file.Services().Get(i))
		}
	}
	return services
}

// document is the OpenAPI document as it grows.
type document struct {
	// paths and operations are in the order of the .proto files.
	paths   []*pathItem
	tags    []object
	schemas map[string]object
	// statuses are those that some operation answers with.
	statuses map[int]bool
	// answered are the messages that are in answers.
	answered map[protoreflect.FullName]bool
}

type pathItem struct {
	path       string
	operations object
}

// item returns the item of a path, and adds it if it is new.
func (d *document) item(path string) *pathItem {
	for _, item := range d.paths {
		if item.path == path {
			return item
		}
	}
	item := &pathItem{path: path}
	d.paths = append(d.paths, item)
	return item
}

// tag returns a service's tag, and adds it if it is new. Services of the same name share one,
// described by the comment of the first.
func (d *document) tag(service protoreflect.ServiceDescriptor) string {
	name := string(service.Name())
	for _, tag := range d.tags {
		if tag.get("name") == name {
			return name
		}
	}
	d.tags = append(d.tags, object{{"name", name}, {"description", commentOf(service)}})
	return name
}

// signedIn are a method's security requirements, any of which will do: that its callers sign
// in, or a token from elsewhere.
func signedIn(access accesspb.Access) (requirements []object) {
	add := func(scheme string) { requirements = append(requirements, object{{scheme, []string{}}}) }
	if access == accesspb.Access_ACCESS_MEMBER || access == accesspb.Access_ACCESS_MEMBER_OR_AGENT {
		add("members")
	}
	if access != accesspb.Access_ACCESS_MEMBER {
		add("agents")
	}
	add("bearer")
	return requirements
}

// realm describes how the people of a realm sign in.
func realm(path, who string) object {
	return object{
		{"type", "openIdConnect"},
		{"openIdConnectUrl", path + "/.well-known/openid-configuration"},
		{"description", "Signing in as " + who + ". The path leads to the discovery document of the installation's issuer; the issuer to trust is the `issuer` in it. " +
			"Where there are several, /.well-known/oauth-protected-resource lists them all (`authorization_servers`, RFC 9728). " +
			"People have all scopes of their role; a machine needs the one that an operation names in x-scope, " +
			"and so does an agent who is no supervisor where x-access is AGENT_WITH_SCOPE, among their scopes or roles."},
	}
}

const about = "Secure messaging between insured people and their social-security body.\n\n" +
	"Unknown members of a body and unknown parameters are refused. An error is a google.rpc.Status; a program compares `reason`, never `message`. " +
	"Integers of 64 bits are strings. Characters are Unicode code points. A later version may add members to answers.\n\n" +
	"A path that takes GET takes HEAD too; a method that a path does not take is answered with 405 and the header Allow, an unknown path with 404. " +
	"Where an operation has one format, it answers in that whatever Accept says.\n\n" +
	"What is not a well-formed HTTP request is refused before its path is looked at, in plain text and not as a google.rpc.Status: " +
	"400 where request line, path or header cannot be read (a path with %zz), 417, 431 for a head of more than 16 KiB, 501 and 505."

func (d *document) whole() object {
	var paths, schemas object
	for _, item := range d.paths {
		paths = append(paths, member{item.path, item.operations})
	}
	d.addStatus()
	names := make([]string, 0, len(d.schemas))
	for name := range d.schemas {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		schemas = append(schemas, member{name, d.schemas[name]})
	}
	return object{
		{"openapi", "3.1.0"},
		{"info", object{
			{"title", "Ma messagerie"},
			{"version", "1"},
			{"description", about},
			{"contact", object{{"name", "Ma messagerie"}, {"url", "https://github.com/ma-messagerie/messagerie"}}},
			{"license", object{{"name", "Apache License 2.0"}, {"identifier", "Apache-2.0"}}},
		}},
		{"servers", []object{
			{{"url", "/"}, {"description", "The gateway that serves this document"}},
			{{"url", "http://127.0.0.1:8080"}, {"description", "A system on this machine, by `make run`"}},
		}},
		{"tags", d.tags},
		{"paths", paths},
		{"components", object{
			{"schemas", schemas},
			{"responses", d.responses()},
			{"headers", headers},
			{"securitySchemes", object{
				{"members", realm("/members", "a member")},
				{"agents", realm("/agents", "an agent, a supervisor or an operator")},
				{"bearer", object{
					{"type", "http"},
					{"scheme", "bearer"},
					{"bearerFormat", "JWT"},
					{"description", "A token from any issuer that the installation accepts, machines' too, for tools that do not sign in themselves."},
				}},
			}},
		}},
	}
}

// object is a JSON object whose members keep their order.
type object []member

type member struct {
	name  string
	value any
}

// MarshalJSON implements json.Marshaler.
func (o object) MarshalJSON() ([]byte, error) {
	text := bytes.NewBufferString("{")
	encoder := json.NewEncoder(text)
	encoder.SetEscapeHTML(false)
	for i, m := range o {
		if i > 0 {
			text.WriteByte(',')
		}
		if err := encoder.Encode(m.name); err != nil {
			return nil, err
		}
		text.WriteByte(':')
		if err := encoder.Encode(m.value); err != nil {
			return nil, err
		}
	}
	text.WriteByte('}')
	return text.Bytes(), nil
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

func reference(kind, name string) object {
	return object{{"$ref", path.Join("#/components", kind, name)}}
}

func upperFirst(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// snake matches a field's name as the .proto writes it.
var snake = regexp.MustCompile(`\b[a-z]+(_[a-z0-9]+)+\b`)

// commentOf is the comment before a declaration, its paragraphs on one line each, with the
// names of fields as JSON has them.
func commentOf(desc protoreflect.Descriptor) string {
	text := desc.ParentFile().SourceLocations().ByDescriptor(desc).LeadingComments
	var paragraphs []string
	for paragraph := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		paragraphs = append(paragraphs, strings.Join(strings.Fields(paragraph), " "))
	}
	return snake.ReplaceAllStringFunc(strings.Join(paragraphs, "\n\n"), func(name string) string {
		words := strings.Split(name, "_")
		for i := range words[1:] {
			words[i+1] = upperFirst(words[i+1])
		}
		return strings.Join(words, "")
	})
}
