package compose

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
)

// checker collects what is wrong with a project.
type checker struct {
	project *types.Project
	secrets []string
	hosts   map[string]string // name on the network to service
	faults  []string
}

// check returns all that is wrong with a project that could be loaded. secrets are
// the files that its service of that name makes.
func check(project *types.Project, secrets []string) []string {
	c := &checker{project: project, secrets: secrets, hosts: make(map[string]string)}
	for name, service := range project.Services {
		c.hosts[name] = name
		for _, network := range service.Networks {
			if network != nil {
				for _, alias := range network.Aliases {
					c.hosts[alias] = name
				}
			}
		}
	}
	for _, name := range project.ServiceNames() {
		service := project.Services[name]
		c.image(service)
		c.hardened(service)
		c.order(service)
		c.mounts(service)
		c.environment(service)
		c.databases(service)
	}
	slices.Sort(c.faults)
	return c.faults
}

func (c *checker) fault(wrong bool, service types.ServiceConfig, text string, args ...any) {
	if wrong {
		c.faults = append(c.faults, service.Name+": "+fmt.Sprintf(text, args...))
	}
}

// once reports whether a service ends by itself.
func once(service types.ServiceConfig) bool { return service.Restart == "no" }

func (c *checker) image(s types.ServiceConfig) {
	name := program(s.Image)
	_, version, _ := strings.Cut(s.Image[strings.LastIndex(s.Image, "/")+1:], ":")
	c.fault(name == "" && strings.HasPrefix(s.Image, registry), s, "image %s is none of ours", s.Image)
	c.fault(name == "" && (version == "" || version == "latest"), s, "image %s has no fixed tag", s.Image)
	if s.Build == nil {
		return
	}
	given := s.Build.Args["SERVICE"]
	c.fault(given == nil || *given != name, s, "SERVICE is not that of image %s", s.Image)
}

func (c *checker) hardened(s types.ServiceConfig) {
	uid, _, _ := strings.Cut(s.User, ":")
	c.fault(uid == "" || uid == "0" || uid == "root", s, "user %q is not another than root", s.User)
	c.fault(!s.ReadOnly, s, "its root can be written to")
	c.fault(!slices.Equal(s.CapDrop, []string{"ALL"}) || len(s.CapAdd) > 0, s, "it keeps capabilities")
	c.fault(!slices.Contains(s.SecurityOpt, "no-new-privileges:true"), s, "it may gain privileges")
	c.fault(s.Privileged || s.NetworkMode == "host" || s.Pid == "host", s, "it is not contained")
	for _, port := range s.Ports {
		c.fault(port.HostIP != "127.0.0.1", s, "port %s is opened to other machines", port.Published)
	}
}

// unchecked are those whose images have no program that could ask for their health.
var unchecked = []string{"otel-collector", "tempo"}

// order checks that nothing is started before what it needs is known to work.
func (c *checker) order(s types.ServiceConfig) {
	checked := s.HealthCheck != nil && !s.HealthCheck.Disable && len(s.HealthCheck.Test) > 0
	c.fault(!once(s) && !checked && !slices.Contains(unchecked, s.Name), s, "it has no health check")
	if checked && program(s.Image) != "" {
		want := []string{"CMD", "/app", "healthcheck"}
		if s.Name == "providers" {
			want = []string{"CMD", "/app", "providers", "healthcheck"}
		}
		c.fault(!slices.Equal(s.HealthCheck.Test, want), s, "health check %v is no command of its image", s.HealthCheck.Test)
	}
	if !once(s) && program(s.Image) != "" {
		need := drain(s)
		c.fault(s.StopGracePeriod == nil || time.Duration(*s.StopGracePeriod) <= need, s, "stop_grace_period leaves less than the %s that a drain may take", need)
	}
	for name, dependency := range s.DependsOn {
		want := types.ServiceConditionHealthy
		if once(c.project.Services[name]) {
			want = types.ServiceConditionCompletedSuccessfully
		}
		if slices.Contains(unchecked, name) {
			want = types.ServiceConditionStarted
		}
		c.fault(dependency.Condition != want, s, "it waits for %s to be %s, not %s", name, dependency.Condition, want)
	}
}

// drain is how long a process of ours may take to go: what it is given, or the
// defaults of the code.
func drain(s types.ServiceConfig) time.Duration {
	prefix := strings.ToUpper(program(s.Image)) + "_DRAIN_"
	times := map[string]time.Duration{"DELAY": 0, "TIMEOUT": 20 * time.Second}
	for name := range times {
		if given := s.Environment[prefix+name]; given != nil {
			times[name], _ = time.ParseDuration(*given) // what is no time is found with the settings
		}
	}
	return times["DELAY"] + times["TIMEOUT"]
}

// reaches reports whether a service starts after another.
func (c *checker) reaches(from, to string) bool {
	for name := range c.project.Services[from].DependsOn {
		if name == to || c.reaches(name, to) {
			return true
		}
	}
	return false
}

func (c *checker) mounts(s types.ServiceConfig) {
	for _, volume := range s.Volumes {
		switch {
		case volume.Type == types.VolumeTypeBind:
			_, err := os.Stat(volume.Source)
			c.fault(err != nil, s, "mounts %s, which is not there", volume.Source)
			c.fault(!volume.ReadOnly, s, "may write to %s", volume.Source)
		case strings.HasPrefix(volume.Target, "/run/secrets/"):
			c.fault(!volume.ReadOnly, s, "may write its secrets")
			owner := strings.TrimSuffix(s.Name, "-migrate")
			c.fault(volume.Source != "secrets-"+owner || volume.Target != "/run/secrets/"+owner, s, "reads secrets of %s at %s", volume.Source, volume.Target)
		}
	}
}

func (c *checker) environment(s types.ServiceConfig) {
	name := program(s.Image)
	for key, value := range s.Environment {
		if value == nil {
			c.fault(true, s, "%s is taken from whoever starts it", key)
			continue
		}
		c.address(s, key, *value)
		if strings.HasSuffix(key, "_FILE") || strings.HasPrefix(*value, "/run/secrets/") {
			c.secret(s, key, *value)
		}
	}
	if name == "" || s.Name == "secrets" {
		return
	}
	if name == "dev" {
		name = s.Name
	}
	known, err := settings(name)
	if err != nil {
		c.fault(true, s, "%v", err)
		return
	}
	migration := s.Name == name+"-migrate"
	for key := range s.Environment {
		_, is := known[strings.TrimSuffix(key, "_FILE")]
		c.fault(!is && !strings.HasPrefix(key, "OTEL_"), s, "%s is no setting of %s", key, name)
	}
	for key, setting := range known {
		_, plain := s.Environment[key]
		_, file := s.Environment[key+"_FILE"]
		server, stored := serverOf(key)
		needed := setting.required && (!migration || stored)
		c.fault(needed && !plain && !file, s, "%s is required", key)
		c.fault(plain && file, s, "%s is given twice", key)
		if stored && (plain || file) {
			c.fault(!c.reaches(s.Name, server), s, "starts before its database on %s", server)
			c.fault(!migration && !c.reaches(s.Name, name+"-migrate"), s, "starts before its schema")
		}
	}
}

// databases checks that a server of databases makes those that there are passwords of.
func (c *checker) databases(s types.ServiceConfig) {
	if s.Environment["DATABASES"] == nil {
		return
	}
	made := strings.Fields(*s.Environment["DATABASES"])
	for _, name := range made {
		c.fault(!slices.Contains(c.secrets, s.Name+"/"+name), s, "nobody makes the password of database %s", name)
	}
	for _, secret := range c.secrets {
		name, its := strings.CutPrefix(secret, s.Name+"/")
		c.fault(its && name != "postgres" && !slices.Contains(made, name), s, "it does not make database %s", name)
	}
}

// serverOf is the service on which the database is that a setting names.
func serverOf(setting string) (server string, ok bool) {
	switch {
	case strings.HasSuffix(setting, "_DATABASE_URL"):
		return "postgres", true
	case strings.HasSuffix(setting, "_VAULT_URL"):
		return "vault", true
	}
	return "", false
}

// secret checks that a file is made, and mounted where it is looked for.
func (c *checker) secret(s types.ServiceConfig, key, path string) {
	rest, ok := strings.CutPrefix(path, "/run/secrets/")
	c.fault(!ok || !slices.Contains(c.secrets, rest), s, "%s: nobody makes %s", key, path)
	folder, _, _ := strings.Cut(rest, "/")
	mounted := slices.ContainsFunc(s.Volumes, func(v types.ServiceVolumeConfig) bool { return v.Target == "/run/secrets/"+folder })
	c.fault(!mounted, s, "%s: /run/secrets/%s is not mounted", key, folder)
	c.fault(!c.reaches(s.Name, "secrets"), s, "starts before its secrets")
}

// address checks that a host exists, and that whom it calls is there first. Those
// that report to it later (webhooks, callbacks) and the collector need not be.
func (c *checker) address(s types.ServiceConfig, key, value string) {
	value = strings.Replace(value, "dns:///", "dns://", 1)
	at, err := url.Parse(value)
	if err != nil || at.Host == "" {
		return
	}
	host := at.Hostname()
	service, known := c.hosts[host]
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		c.fault(!strings.HasSuffix(key, "PUBLIC_URL"), s, "%s: %s is the container itself", key, host)
		return
	}
	c.fault(!known, s, "%s: nothing is named %s", key, host)
	late := strings.HasSuffix(key, "_WEBHOOK") || strings.HasSuffix(key, "_CALLBACK") || strings.HasPrefix(key, "OTEL_")
	c.fault(known && !late && !c.reaches(s.Name, service), s, "%s: starts before %s", key, service)
}
