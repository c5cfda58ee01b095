package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ma-messagerie/messagerie/chassis"
	"github.com/ma-messagerie/messagerie/services/gateway"
	"github.com/ma-messagerie/messagerie/services/messaging"
	"github.com/ma-messagerie/messagerie/services/notifier"
	"github.com/ma-messagerie/messagerie/services/taxonomy"
	"github.com/ma-messagerie/messagerie/web"
)

// Registry is where the project's images are.
const Registry = "ghcr.io/ma-messagerie/"

// Service is what a program's code says about how to deploy it.
type Service struct {
	Name     string
	Settings map[string]Setting
	// Load reads a configuration from variables as the program does at its start.
	Load func(environ []string) error
}

// Prefix begins the names of the service's variables.
func (s Service) Prefix() string { return strings.ToUpper(s.Name) + "_" }

// Facts is what the rest of the repository says about the manifests.
type Facts struct {
	root     string
	Services map[string]Service
	// Metrics are the names that docs/operations.md has, and those that Prometheus
	// makes of histograms.
	Metrics map[string]bool
	// Secrets are the keys of the documented Secrets, by the Secret's name. Nothing
	// in the base makes them.
	Secrets map[string][]string
}

// ReadFacts reads them below the repository's root.
func ReadFacts(root string) (*Facts, error) {
	f := &Facts{root: root, Services: make(map[string]Service), Secrets: make(map[string][]string)}
	for _, s := range []Service{
		service[gateway.Config]("gateway"),
		service[messaging.Config]("messaging"),
		service[taxonomy.Config]("taxonomy"),
		service[notifier.Config]("notifier"),
		service[web.Config]("web"),
	} {
		f.Services[s.Name] = s
	}
	if err := f.readMetrics(); err != nil {
		return nil, err
	}
	return f, f.readSecrets()
}

func service[C any](name string) Service {
	s := Service{Name: name}
	var config C
	s.Settings = Settings(s.Prefix(), config)
	// The two that every program reads before its own configuration.
	s.Settings[s.Prefix()+"LOG_LEVEL"] = Setting{Default: "INFO"}
	s.Settings[s.Prefix()+"GC_PERCENT"] = Setting{Default: "300"}
	s.Load = func(environ []string) error {
		_, err := chassis.Load[C](s.Prefix(), environ)
		return err
	}
	return s
}

// metricRow is a row of the tables of metrics; others of docs/operations.md name
// settings, which are in capitals.
var (
	metricRow  = regexp.MustCompile("(?m)^\\| `(messagerie_[a-z_]+)`")
	metricElse = regexp.MustCompile("`([a-z]+(?:_[a-z]+)+)`")
)

func (f *Facts) readMetrics() error {
	content, err := os.ReadFile(filepath.Join(f.root, "docs", "operations.md"))
	if err != nil {
		return fmt.Errorf("reading the table of metrics: %w", err)
	}
	_, section, found := strings.Cut(string(content), "\n## Metrics\n")
	if !found {
		return fmt.Errorf("docs/operations.md has no section Metrics")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	f.Metrics = map[string]bool{"up": true}
	for _, row := range slices.Concat(metricRow.FindAllStringSubmatch(section, -1), metricElse.FindAllStringSubmatch(section, -1)) {
		for _, suffix := range []string{"", "_bucket", "_sum", "_count"} {
			f.Metrics[row[1]+suffix] = true
		}
	}
	return nil
}

// KnowsMetric reports whether something exports a metric: this system, the Go runtime,
// or what a cluster measures of any container.
func (f *Facts) KnowsMetric(name string) bool {
	for _, prefix := range []string{"go_", "process_", "kube_", "container_", "cnpg_", "jetstream_", "gnatsd_", "nats_"} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return f.Metrics[name]
}

// SecretExamples is the file that documents the Secrets, as examples of them.
const SecretExamples = "deploy/k8s/base/secrets.example.yaml" //nolint:gosec // a path

func (f *Facts) readSecrets() error {
	content, err := os.ReadFile(filepath.Join(f.root, SecretExamples))
	if err != nil {
		return fmt.Errorf("reading the examples of Secrets: %w", err)
	}
	examples, err := Decode(string(content))
	if err != nil {
		return fmt.Errorf("reading %s: %w", SecretExamples, err)
	}
	for _, o := range examples {
		f.Secrets[o.Name()] = secretKeys(o)
	}
	return nil
}

func secretKeys(secret Object) []string {
	return append(sorted(mapping(secret["data"])), sorted(mapping(secret["stringData"]))...)
}

// hasRunbook reports whether a page exists; an address ends in its path from the
// repository's root, whatever server shows it.
func (f *Facts) hasRunbook(address string) bool {
	at := strings.Index(address, "docs/runbooks/")
	if at < 0 {
		return false
	}
	page, _, _ := strings.Cut(address[at:], "#")
	_, err := os.Stat(filepath.Join(f.root, filepath.FromSlash(page)))
	return err == nil
}

// hasImage reports whether the project makes an image of a name.
func (f *Facts) hasImage(name string) bool {
	base := name[strings.LastIndex(name, "/")+1:]
	_, isService := f.Services[base]
	return isService || base == "messagerie" || base == "dev"
}
