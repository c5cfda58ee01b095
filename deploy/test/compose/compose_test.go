package compose

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func secretsMade(t *testing.T) []string {
	t.Helper()
	made, err := secretFiles(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestComposeFile(t *testing.T) {
	t.Parallel()
	project, err := load(t.Context(), []byte(read(t, "docker-compose.yml")))
	if err != nil {
		t.Fatal(err)
	}
	for _, fault := range check(project, secretsMade(t)) {
		t.Error(fault)
	}
	// The cli is no part of the stack; all others are.
	var images []string
	for _, service := range project.Services {
		images = append(images, program(service.Image))
	}
	for _, name := range programs {
		if name != "messagerie" && !slices.Contains(images, name) {
			t.Errorf("no service has the image of %s", name)
		}
	}
}

// Each row puts one fault into the file; a check that does not see it is worth
// nothing.
func TestComposeFile_SeededFaults(t *testing.T) {
	t.Parallel()
	clean, made := read(t, "docker-compose.yml"), secretsMade(t)
	for _, seeded := range []struct{ name, old, new, want string }{
		{"unknown key", "    healthcheck: *healthcheck\n", "    helthcheck: *healthcheck\n", "helthcheck"},
		{"wrong condition", "nats: {condition: service_healthy}", "nats: {condition: service_ready}", "condition"},
		{"unknown dependency", "nats: {condition: service_healthy}", "broker: {condition: service_healthy}", "broker"},
		{"no time to drain", "  stop_grace_period: 30s\n", "  stop_grace_period: 20s\n", "may take"},
		{"more to drain", "      NOTIFIER_SITE_ADDRESS: messagerie.example.org\n", "      NOTIFIER_SITE_ADDRESS: messagerie.example.org\n      NOTIFIER_DRAIN_TIMEOUT: 40s\n", "the 40s that"},
		{"unknown setting", "GATEWAY_NOTIFIER_ADDR:", "GATEWAY_NOTIFIER_ADDRESS:", "GATEWAY_NOTIFIER_ADDRESS is no setting"},
		{"missing setting", "      NOTIFIER_SITE_ADDRESS: messagerie.example.org\n", "", "NOTIFIER_SITE_ADDRESS is required"},
		{"setting of another", "WEB_PUBLISHER:", "MESSAGING_PUBLISHER:", "MESSAGING_PUBLISHER is no setting of web"},
		{"secret that nobody makes", "messaging/keyset", "messaging/key-set", "nobody makes"},
		{"secret of another", `["secrets-web:/run/secrets/web:ro"]`, `["secrets-messaging:/run/secrets/web:ro"]`, "reads secrets of secrets-messaging"},
		{"secret not mounted", `    volumes: ["secrets-web:/run/secrets/web:ro"]` + "\n", "", "is not mounted"},
		{"secret that can be written", "secrets-web:/run/secrets/web:ro", "secrets-web:/run/secrets/web", "may write its secrets"},
		{"unknown host", "dns:///taxonomy:9090\n      GATEWAY", "dns:///taxonomie:9090\n      GATEWAY", "nothing is named taxonomie"},
		{"no such alias", "aliases: [oidc.localhost]", "aliases: [oidc.test]", "nothing is named oidc.localhost"},
		{"the container itself", "nats://nats:4222", "nats://127.0.0.1:4222", "is the container itself"},
		{"starts too early", "      nats: {condition: service_healthy}\n      providers: {condition: service_healthy}\n      taxonomy", "      providers: {condition: service_healthy}\n      taxonomy", "starts before nats"},
		{"does not wait for health", "gateway: {condition: service_healthy}", "gateway: {condition: service_started}", "it waits for gateway"},
		{"does not wait for the end", "messaging-migrate: {condition: service_completed_successfully}", "messaging-migrate: {condition: service_started}", "it waits for messaging-migrate"},
		{"vault that nobody names", "      MESSAGING_VAULT_URL_FILE: /run/secrets/messaging/vault-url\n      MESSAGING_MIGRATE", "      MESSAGING_MIGRATE", "MESSAGING_VAULT_URL is required"},
		{"vault without a schema", "      MESSAGING_VAULT_URL_FILE: /run/secrets/messaging/vault-url\n    depends_on", "    depends_on", "messaging-migrate: MESSAGING_VAULT_URL is required"},
		{"vault not waited for", "      vault: {condition: service_healthy}\n", "", "starts before its database on vault"},
		{"vault beside the others", "DATABASES: taxonomy messaging notifier", "DATABASES: taxonomy messaging notifier vault", "postgres: nobody makes the password of database vault"},
		{"database that nobody makes", "DATABASES: taxonomy messaging notifier", "DATABASES: taxonomy messaging", "postgres: it does not make database notifier"},
		{"no schema", "      messaging-migrate: {condition: service_completed_successfully}\n", "", "starts before its schema"},
		{"wrong image", "ghcr.io/ma-messagerie/gateway:dev", "ghcr.io/ma-messagerie/gatway:dev", "is none of ours"},
		{"wrong tag", "ghcr.io/ma-messagerie/web:dev", "ghcr.io/ma-messagerie/web:latest", "is none of ours"},
		{"image of another program", "args: {SERVICE: gateway}", "args: {SERVICE: web}", "SERVICE is not that of image"},
		{"no fixed tag", "postgres:17-bookworm", "postgres", "has no fixed tag"},
		{"root", `  user: "65532:65532"`, `  user: "0:0"`, "is not another than root"},
		{"writable root", "  read_only: true\n", "", "its root can be written to"},
		{"capabilities", "  cap_drop: [ALL]\n", "", "it keeps capabilities"},
		{"privileges", `  security_opt: ["no-new-privileges:true"]` + "\n", "", "it may gain privileges"},
		{"open port", "127.0.0.1:8000:8000", "8000:8000", "is opened to other machines"},
		{"shell in distroless", "[CMD, /app, healthcheck]", "[CMD, wget, localhost:9464]", "is no command of its image"},
		{"no health check", "    healthcheck: *healthcheck\n    depends_on:\n      gateway", "    depends_on:\n      gateway", "it has no health check"},
		{"missing file", "./deploy/compose/nats.conf", "./deploy/compose/nat.conf", "which is not there"},
	} {
		t.Run(seeded.name, func(t *testing.T) {
			t.Parallel()
			faulty := strings.Replace(clean, seeded.old, seeded.new, 1)
			if faulty == clean {
				t.Fatalf("%q is not in the file: the fault is not seeded", seeded.old)
			}
			var faults []string
			project, err := load(t.Context(), []byte(faulty))
			if err != nil {
				faults = []string{err.Error()}
			} else {
				faults = check(project, made)
			}
			if !strings.Contains(strings.Join(faults, "\n"), seeded.want) {
				t.Errorf("found %q, want %q", faults, seeded.want)
			}
		})
	}
}

// Debian's docker-compose and older podman know no more than this at the top.
func TestComposeFile_OldSubset(t *testing.T) {
	t.Parallel()
	for _, match := range regexp.MustCompile(`(?m)^([a-z][a-z-]*):`).FindAllStringSubmatch(read(t, "docker-compose.yml"), -1) {
		if key := match[1]; !strings.HasPrefix(key, "x-") && key != "services" && key != "volumes" && key != "networks" {
			t.Errorf("top-level %s is not known everywhere", key)
		}
	}
}

var (
	used   = regexp.MustCompile(`(?m)^\s+\./(\S+)$`)
	copied = regexp.MustCompile(`(?m)^COPY (\S+)/go\.mod (\S+)/go\.sum (\S+)/$`)
)

// modules returns the folders of go.work but for examples, which no image holds, and
// those whose go.mod a Dockerfile copies before the code.
func modules(work, dockerfile string) (want, got []string) {
	for _, m := range used.FindAllStringSubmatch(work, -1) {
		if !strings.HasPrefix(m[1], "examples/") {
			want = append(want, m[1])
		}
	}
	for _, m := range copied.FindAllStringSubmatch(dockerfile, -1) {
		if m[1] == m[2] && m[1] == m[3] {
			got = append(got, m[1])
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	return want, got
}

func TestDockerfile_CopiesEveryModule(t *testing.T) {
	t.Parallel()
	work, dockerfile := read(t, "go.work"), read(t, "Dockerfile")
	want, got := modules(work, dockerfile)
	if len(want) == 0 || !slices.Equal(want, got) {
		t.Errorf("the Dockerfile copies %v, go.work uses %v", got, want)
	}
	ignored := read(t, ".dockerignore")
	for _, module := range want {
		top, _, _ := strings.Cut(module, "/")
		if !strings.Contains(ignored, "\n!"+top+"\n") {
			t.Errorf(".dockerignore keeps %s from the builder", top)
		}
	}
	for _, faulty := range []string{
		strings.Replace(dockerfile, "COPY web/go.mod web/go.sum web/\n", "", 1),
		strings.Replace(dockerfile, "web/go.sum web/\n", "web/go.sum wep/\n", 1),
	} {
		if want, got := modules(work, faulty); slices.Equal(want, got) {
			t.Error("a module that is missing from the Dockerfile is not seen")
		}
	}
}

func TestDockerfile_KnowsEveryProgram(t *testing.T) {
	t.Parallel()
	dockerfile := read(t, "Dockerfile")
	for _, name := range programs {
		if !regexp.MustCompile(`(?m)^\s+(\w+\|)*` + name + `(\|\w+)*\) echo`).MatchString(dockerfile) {
			t.Errorf("the Dockerfile cannot build %s", name)
		}
	}
	for _, must := range []string{"\nUSER 65532:65532\n", "\nENTRYPOINT [\"/app\"]\n", "-trimpath", "-buildid=", "CGO_ENABLED=0"} {
		if !strings.Contains(dockerfile, must) {
			t.Errorf("the Dockerfile has no %q", must)
		}
	}
}
