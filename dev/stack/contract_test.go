package stack_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/ma-messagerie/messagerie/dev/inbox"
	"github.com/ma-messagerie/messagerie/dev/stack"
)

// elsewhere are the statuses that every operation may have and that a system in good health
// does not answer with. The gateway's own tests provoke them.
var elsewhere = []int{429, 500, 503, 504}

// always are what is provoked whether the document has it or not: what comes must be in it.
var always = []int{400, 401, 403, 404, 413, 415}

// TestContract calls every operation of the OpenAPI document, with the document's own
// examples and with what it forbids. Each answer must be one that the document has, and
// its body one that the schema takes; and each status that the document has must come.
func TestContract(t *testing.T) {
	t.Parallel()
	s := start(t, stateDir(t))
	c := newContract(t, s)
	// What is erased last is there for the others.
	slices.SortStableFunc(c.operations, func(a, b *operation) int {
		last := map[string]int{"eraseMyData": 1}
		return last[a.id] - last[b.id]
	})
	for _, op := range c.operations {
		c.try(t, op)
	}
	tried := 0
	for _, op := range c.operations {
		for _, status := range op.statuses() {
			tried++
			if !op.seen[status] && !slices.Contains(elsewhere, status) {
				t.Errorf("%s never answered %d", op.id, status)
			}
		}
	}
	if len(c.operations) < 46 || tried < 400 || c.breaches < 80 {
		t.Errorf("%d operations have %d statuses, and %d bounds were broken", len(c.operations), tried, c.breaches)
	}
	t.Logf("%d operations have %d statuses, and %d bounds were broken", len(c.operations), tried, c.breaches)
}

// contract is the document with the system that it describes.
type contract struct {
	stack      *stack.Stack
	doc        map[string]any
	compiler   *jsonschema.Compiler
	operations []*operation
	tokens     map[string]string
	// letters are dead letters that nobody has dropped.
	letters []string
	// breaches is how many calls broke a bound.
	breaches int
}

type operation struct {
	id, verb, path string
	described      map[string]any
	seen           map[int]bool
}

func newContract(t *testing.T, s *stack.Stack) *contract {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(do(t, as(t, s, ""), http.MethodGet, "/openapi.json", nil).Body))
	if err != nil {
		t.Fatal(err)
	}
	c := &contract{stack: s, doc: dig(doc), compiler: jsonschema.NewCompiler(), tokens: make(map[string]string)}
	c.compiler.AssertFormat()
	if err := c.compiler.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	for path, operations := range dig(doc, "paths") {
		for verb, described := range dig(operations) {
			op := &operation{verb: strings.ToUpper(verb), path: path, described: dig(described), seen: make(map[int]bool)}
			op.id, _ = op.described["operationId"].(string)
			c.operations = append(c.operations, op)
		}
	}
	slices.SortFunc(c.operations, func(a, b *operation) int { return strings.Compare(a.id, b.id) })
	for _, persona := range []string{"jeanne", "claire", "nadia", "sofiane", "notifier"} {
		c.tokens[persona] = as(t, s, persona).Token
	}
	c.letters = loseMail(t, s)
	return c
}

// loseMail has mails refused, and returns their dead letters.
func loseMail(t *testing.T, s *stack.Stack) []string {
	t.Helper()
	box := as(t, s, "")
	box.Base = s.Places().Inbox
	do(t, box, http.MethodPost, "/api/faults", map[string]any{"channel": inbox.Email, "mode": "refuse"})
	defer do(t, box, http.MethodPost, "/api/faults", map[string]any{"channel": inbox.Email, "mode": "off"})
	send(t, as(t, s, "jeanne"), "Bonjour, une question qui se perd.")
	var ids []string
	eventually(t, "the mail is a dead letter", func() bool {
		for _, letter := range read[struct{ DeadLetters []struct{ ID string } }](t, do(t, as(t, s, "sofiane"), http.MethodGet, "/v1/operator/deadletters?channel=EMAIL", nil)).DeadLetters {
			ids = append(ids, letter.ID)
		}
		return len(ids) > 0
	})
	return ids
}

// statuses are those that the document has for an operation.
func (op *operation) statuses() []int {
	var list []int
	for status := range dig(op.described, "responses") {
		code, _ := strconv.Atoi(status)
		list = append(list, code)
	}
	slices.Sort(list)
	return list
}

func (op *operation) has(status int) bool { return slices.Contains(op.statuses(), status) }

// persona is who may call an operation; stranger is somebody who may not.
func (op *operation) persona() (persona, stranger string) {
	switch op.described["x-access"] {
	case "MEMBER":
		return "jeanne", "claire"
	case "AGENT":
		return "claire", "jeanne"
	case "AGENT_WITH_SCOPE":
		return "claire", "nadia"
	case "MEMBER_OR_AGENT":
		return "jeanne", "notifier"
	case "SUPERVISOR", "OPERATOR":
		return "sofiane", "claire"
	}
	return "", ""
}

// ask is one call: the operation's examples, but for what is said otherwise.
type ask struct {
	persona string
	id      string
	query   url.Values
	body    []byte
	header  map[string]string
}

// example is what the document gives as an example of an operation, about a thing that
// there is.
func (c *contract) example(t *testing.T, op *operation) ask {
	t.Helper()
	a := ask{query: make(url.Values), header: make(map[string]string), id: c.thing(t, op)}
	a.persona, _ = op.persona()
	for _, parameter := range list(op.described["parameters"]) {
		p := dig(parameter)
		name, example := fmt.Sprint(p["name"]), p["example"]
		switch {
		case example == nil || p["in"] == "path" || slices.Contains([]string{"If-None-Match", "If-Match"}, name):
		case name == "Idempotency-Key":
			a.header[name] = uuid.NewString()
		case p["in"] == "header":
			a.header[name] = fmt.Sprint(example)
		case p["in"] == "query":
			for _, value := range list(example) {
				a.query.Add(name, fmt.Sprint(value))
			}
		}
	}
	if body := dig(op.described, "requestBody", "content", "application/json"); body != nil {
		var err error
		example := body["example"]
		if content, ok := example.(map[string]any); ok {
			example = c.current(t, content, a.id)
		}
		if a.body, err = json.Marshal(example); err != nil {
			t.Fatal(err)
		}
		a.header["Content-Type"] = "application/json"
	}
	return a
}

// current is the example of a body with what must be so of a conversation that there is: its
// last message, and a colleague.
func (c *contract) current(t *testing.T, example map[string]any, id string) map[string]any {
	t.Helper()
	example = maps.Clone(example)
	claire := as(t, c.stack, "claire")
	if _, needed := example["lastMessageId"]; needed {
		example["lastMessageId"] = lastMessage(t, claire, id)
	}
	if _, needed := example["agentId"]; needed {
		agents := read[struct{ Agents []struct{ ID string } }](t, do(t, claire, http.MethodGet, "/v1/agent/agents", nil)).Agents
		example["agentId"] = agents[0].ID
	}
	return example
}

func list(value any) []any {
	switch value := value.(type) {
	case nil:
		return nil
	case []any:
		return value
	}
	return []any{value}
}

// thing is the id of what an operation is about, made for it.
func (c *contract) thing(t *testing.T, op *operation) string {
	t.Helper()
	jeanne, claire := as(t, c.stack, "jeanne"), as(t, c.stack, "claire")
	switch {
	case !strings.Contains(op.path, "{"):
		return ""
	case strings.Contains(op.path, "/agent/drafts/"):
		id := send(t, jeanne, "Bonjour, une question.").ID
		do(t, claire, http.MethodPut, "/v1/agent/drafts/"+id, map[string]any{"text": "Bonjour, votre"})
		return id
	case strings.Contains(op.path, "/drafts/"):
		id := uuid.NewString()
		do(t, jeanne, http.MethodPut, "/v1/drafts/"+id, map[string]any{"text": "Bonjour, je"})
		return id
	case strings.Contains(op.path, "/deadletters/"):
		if len(c.letters) == 0 {
			return uuid.NewString() + ".EMAIL"
		}
		return c.letters[0]
	case op.id == "messagingOperatorDropRefusedEvent":
		return refuseEvent(t, c.stack)
	case !strings.Contains(op.path, "conversations/"):
		return uuid.NewString()
	}
	id := send(t, jeanne, "Bonjour, une question.").ID
	if op.id == "agentReleaseConversation" || op.id == "agentAssignConversation" {
		do(t, claire, http.MethodPost, "/v1/agent/conversations/"+id+":claim", map[string]any{})
	}
	return id
}

// refuseEvent sets an event aside as one that the broker does not take, since this broker
// takes all. It is the only one of its caisse: when one that was refused likewise is taken, the
// others are tried again.
func refuseEvent(t *testing.T, s *stack.Stack) (id string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.DatabaseURL("messaging"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	err = conn.QueryRow(t.Context(), `
		INSERT INTO outbox_refused (id, type, caisse, conversation_id, payload, trace, created_at, reason, next_try, set_aside_at)
		VALUES (gen_random_uuid(), 'reply-posted', 'msa-' || left(gen_random_uuid()::text, 8), gen_random_uuid(), '', '', now(), 'EVENT_INVALID', now() + interval '1 hour', now()) RETURNING id::text`).Scan(&id)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// try calls an operation in all ways that the document has a status for.
func (c *contract) try(t *testing.T, op *operation) {
	t.Helper()
	_, stranger := op.persona()
	want := func(status int, change func(*ask)) {
		t.Helper()
		if !op.has(status) && !slices.Contains(always, status) {
			return
		}
		a := c.example(t, op)
		change(&a)
		if got := c.call(t, op, a); got != status && op.has(status) {
			t.Errorf("%s answered %d, want %d", op.id, got, status)
		}
	}
	for mediaType := range dig(op.described, "responses", "200", "content") {
		want(200, func(a *ask) { a.header["Accept"] = mediaType })
	}
	want(304, func(a *ask) { a.header["If-None-Match"] = "*" })
	want(400, func(a *ask) { a.query.Set("colour", "red") })
	c.breach(t, op)
	want(401, func(a *ask) { a.persona = "" })
	want(403, func(a *ask) { a.persona = stranger })
	want(404, func(a *ask) {
		a.id = uuid.NewString()
		if strings.Contains(op.path, "/deadletters/") {
			a.id += ".EMAIL"
		}
		if op.id == "saveDraft" { // of a further message
			a.body = []byte(`{"text":"Bonjour","conversationId":"` + a.id + `"}`)
		}
	})
	want(406, func(a *ask) { a.header["Accept"] = "image/png" })
	want(409, func(a *ask) { c.conflict(t, op, a) })
	want(412, func(a *ask) { a.header["If-Match"] = `"stale"` })
	want(413, func(a *ask) { a.body = []byte(`{"text":"` + strings.Repeat("a", 70_000) + `"}`) })
	want(415, func(a *ask) {
		a.body = []byte("{}")
		a.header["Content-Type"] = "text/plain"
	})
}

// breach calls an operation once for each bound of its body and parameters, with what is
// just beyond it.
func (c *contract) breach(t *testing.T, op *operation) {
	t.Helper()
	a := c.example(t, op)
	refused := func(what string, value any, a ask) {
		t.Helper()
		c.breaches++
		if got := c.call(t, op, a); got != http.StatusBadRequest {
			t.Errorf("%s with %s %.40v: %d, want 400", op.id, what, value, got)
		}
	}
	for _, parameter := range list(op.described["parameters"]) {
		p := dig(parameter)
		if p["in"] != "query" {
			continue
		}
		name := fmt.Sprint(p["name"])
		with := func(values ...string) ask {
			changed := a
			changed.query = maps.Clone(a.query)
			changed.query[name] = values
			return changed
		}
		if p["required"] == true {
			refused("no "+name, "", with())
		}
		for _, value := range c.beyond(p["schema"]) {
			var texts []string
			for _, item := range list(value) {
				texts = append(texts, fmt.Sprint(item))
			}
			refused(name, value, with(texts...))
		}
	}
	body := c.resolve(dig(op.described, "requestBody", "content", "application/json", "schema"))
	for name, schema := range dig(body, "properties") {
		with := func(value any) ask {
			var content map[string]any
			if err := json.Unmarshal(a.body, &content); err != nil {
				t.Fatal(err)
			}
			if content[name] = value; value == nil {
				delete(content, name)
			}
			changed := a
			changed.body, _ = json.Marshal(content)
			return changed
		}
		if required, _ := body["required"].([]any); slices.Contains(required, any(name)) {
			refused("no "+name, "", with(nil))
		}
		for _, value := range c.beyond(schema) {
			refused(name, value, with(value))
		}
	}
}

// resolve follows a reference.
func (c *contract) resolve(schema any) map[string]any {
	at := dig(schema)
	if ref, ok := at["$ref"].(string); ok {
		return dig(c.doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
	}
	return at
}

// beyond are values that a schema forbids, as near to what it allows as can be.
func (c *contract) beyond(of any) (values []any) {
	schema := c.resolve(of)
	number := func(name string) (int, bool) {
		text, ok := schema[name].(json.Number)
		n, _ := strconv.Atoi(text.String())
		return n, ok
	}
	if most, ok := number("maxLength"); ok {
		values = append(values, strings.Repeat("a", most+1))
	}
	if least, ok := number("minLength"); ok {
		values = append(values, strings.Repeat("a", least-1))
	}
	if most, ok := number("maximum"); ok {
		values = append(values, most+1)
	}
	if least, ok := number("minimum"); ok {
		values = append(values, least-1)
	}
	if most, ok := number("maxItems"); ok {
		item := any("a")
		if items := c.resolve(schema["items"]); items["format"] == "uuid" {
			item = uuid.NewString()
		} else if items["enum"] != nil {
			item = list(items["enum"])[0]
		}
		values = append(values, slices.Repeat([]any{item}, most+1))
	}
	if schema["format"] == "uuid" {
		values = append(values, "7")
	}
	switch {
	case schema["enum"] != nil && schema["type"] == "boolean":
		values = append(values, false)
	case schema["enum"] != nil:
		values = append(values, "NONE_OF_THESE")
	case schema["type"] == "integer" || schema["type"] == "boolean":
		values = append(values, "many")
	}
	return values
}

// conflict makes that what a call asks for cannot be done.
func (c *contract) conflict(t *testing.T, op *operation, a *ask) {
	t.Helper()
	agent := func(persona, verb string) {
		t.Helper()
		if got := do(t, as(t, c.stack, persona), http.MethodPost, "/v1/agent/conversations/"+a.id+":"+verb, map[string]any{}); got.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", verb, got.Status, got.Body)
		}
	}
	switch {
	case op.described["x-idempotency"] == "KEYED":
		c.call(t, op, *a)
		a.body = bytes.Replace(a.body, []byte("Bonjour, "), []byte("Bonsoir, "), 1)
		a.body = bytes.Replace(a.body, []byte("Le dossier"), []byte("Son dossier"), 1)
		a.body = bytes.Replace(a.body, []byte("FOLLOWED"), []byte("SHOWN"), 1)
		a.body = bytes.Replace(a.body, []byte(`"paiement"`), []byte(`"versement"`), 1)
	case op.id == "agentReleaseConversation", op.id == "agentAssignConversation":
		agent("claire", "release")
	case op.id == "agentTakeOverConversation": // of what is closed
		do(t, as(t, c.stack, "claire"), http.MethodPost, "/v1/agent/conversations/"+a.id+":close", map[string]any{
			"text": "C’est réglé.", "lastMessageId": lastMessage(t, as(t, c.stack, "claire"), a.id),
		})
	case op.id == "agentHoldConversation", op.id == "agentSaveDraft": // of who has everything erased
		marc := as(t, c.stack, "marc")
		a.id = send(t, marc, "Bonjour, une question.").ID
		do(t, marc, http.MethodPost, "/v1/me:erase", map[string]any{"confirm": true})
	case op.id == "agentSaveTemplate":
		for range 200 { // as many as a caisse may have
			do(t, as(t, c.stack, "sofiane"), http.MethodPut, "/v1/agent/templates/"+uuid.NewString(), map[string]any{"title": "Un modèle", "text": "Bonjour"})
		}
	default:
		agent("sofiane", "claim")
	}
}

// call makes a call and holds its answer against the document.
func (c *contract) call(t *testing.T, op *operation, a ask) int {
	t.Helper()
	path := op.path
	if before, after, ok := strings.Cut(path, "{"); ok {
		_, after, _ = strings.Cut(after, "}")
		path = before + a.id + after
	}
	if len(a.query) > 0 {
		path += "?" + a.query.Encode()
	}
	// Watches have no end.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, op.verb, c.stack.Places().Gateway+path, bytes.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	if a.body == nil {
		req.Body = nil
	}
	for name, value := range a.header {
		req.Header.Set(name, value)
	}
	if a.persona != "" {
		req.Header.Set("Authorization", "Bearer "+c.tokens[a.persona])
	}
	answer, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("%s: %v", op.id, err)
	}
	defer answer.Body.Close()
	c.check(t, op, answer)
	return answer.StatusCode
}

// check holds an answer against the document.
func (c *contract) check(t *testing.T, op *operation, answer *http.Response) {
	t.Helper()
	status := strconv.Itoa(answer.StatusCode)
	at := []string{"paths", op.path, strings.ToLower(op.verb), "responses", status}
	described := dig(c.doc, at...)
	if described == nil {
		text, _ := io.ReadAll(answer.Body)
		t.Errorf("%s answered %s, which is not described: %s", op.id, status, text)
		return
	}
	op.seen[answer.StatusCode] = true
	if ref, ok := described["$ref"].(string); ok {
		at = strings.Split(strings.TrimPrefix(ref, "#/"), "/")
		described = dig(c.doc, at...)
	}
	for name := range dig(described, "headers") {
		// The caller may be replayed to.
		if answer.Header.Get(name) == "" && name != "Idempotent-Replayed" {
			t.Errorf("%s: %s without %s", op.id, status, name)
		}
	}
	mediaType, _, _ := strings.Cut(answer.Header.Get("Content-Type"), ";")
	content := dig(described, "content")
	if content[mediaType] == nil && len(content) > 0 {
		t.Errorf("%s: %s is %q", op.id, status, mediaType)
		return
	}
	for _, value := range valuesOf(t, mediaType, answer.Body) {
		if err := c.schema(t, append(at, "content", mediaType, "schema")...).Validate(value); err != nil {
			t.Errorf("%s: %s: %v", op.id, status, err)
		}
	}
}

// valuesOf are the JSON values of an answer; of a stream with no end of its own, the first.
func valuesOf(t *testing.T, mediaType string, body io.Reader) (values []any) {
	t.Helper()
	add := func(text []byte) {
		value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Errorf("%v: %s", err, text)
		}
		values = append(values, value)
	}
	switch mediaType {
	case "application/json":
		text, err := io.ReadAll(body)
		if err != nil {
			t.Error(err)
		}
		add(text)
	case "text/event-stream", "application/x-ndjson":
		for lines := bufio.NewScanner(body); len(values) == 0 && lines.Scan(); {
			line := lines.Bytes()
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok || mediaType == "application/x-ndjson" && len(line) > 0 {
				add(data)
			}
		}
		if len(values) == 0 {
			t.Error("a stream without an answer")
		}
	}
	return values
}

// schema is one of the document's.
func (c *contract) schema(t *testing.T, path ...string) *jsonschema.Schema {
	t.Helper()
	pointer := "openapi.json#"
	for _, name := range path {
		pointer += "/" + strings.NewReplacer("~", "~0", "/", "~1", "{", "%7B", "}", "%7D").Replace(name)
	}
	schema, err := c.compiler.Compile(pointer)
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// dig goes down a path of objects; nil where there is none.
func dig(at any, path ...string) map[string]any {
	for _, name := range path {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	object, _ := at.(map[string]any)
	return object
}
