package manifest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// variable is one environment variable of a container, and where it comes from.
type variable struct {
	name, value string
	// field is where it is given; secret tells values that the manifests do not hold.
	field  string
	secret bool
}

// variables lists what a container's environment will hold, in the order in which
// later ones win, and reports references to nothing.
func (l *linter) variables(p pod, c container) []variable {
	var all []variable
	for i, source := range list(c.at("envFrom")) {
		field := fmt.Sprintf("%s.envFrom[%d]", c.field, i)
		prefix := text(at(source, "prefix"))
		all = append(all, l.fromConfigMap(p.owner, field, prefix, at(source, "configMapRef"))...)
		all = append(all, l.fromSecret(p.owner, field, prefix, at(source, "secretRef"))...)
	}
	for i, entry := range list(c.at("env")) {
		v := variable{name: text(at(entry, "name")), value: text(at(entry, "value"))}
		v.field = fmt.Sprintf("%s.env[%d] %s", c.field, i, v.name)
		l.resolve(p.owner, &v, mapping(at(entry, "valueFrom")))
		all = append(all, v)
	}
	return all
}

func (l *linter) fromConfigMap(o Object, field, prefix string, ref any) []variable {
	name := text(at(ref, "name"))
	if name == "" {
		return nil
	}
	if at(ref, "optional") != true {
		l.needConfigMap(o, field, name, "")
	}
	var all []variable
	found := texts(Find(l.objects, "ConfigMap", name).at("data"))
	for _, key := range sorted(found) {
		all = append(all, variable{name: prefix + key, value: found[key], field: field + " " + name})
	}
	return all
}

func (l *linter) fromSecret(o Object, field, prefix string, ref any) []variable {
	name := text(at(ref, "name"))
	if name == "" {
		return nil
	}
	if at(ref, "optional") != true {
		l.needSecret(o, field, name, "")
	}
	keys, _ := l.keysOf(name)
	var all []variable
	for _, key := range keys {
		// A key that is no variable's name is left out by the kubelet; it is there to
		// be mounted.
		if variableName.MatchString(key) {
			all = append(all, variable{name: prefix + key, field: field + " " + name, secret: true})
		}
	}
	return all
}

func (l *linter) resolve(o Object, v *variable, from map[string]any) {
	if ref := mapping(from["configMapKeyRef"]); ref != nil {
		name, key := text(ref["name"]), text(ref["key"])
		v.value = texts(Find(l.objects, "ConfigMap", name).at("data"))[key]
		if ref["optional"] != true {
			l.needConfigMap(o, v.field, name, key)
		}
	}
	if ref := mapping(from["secretKeyRef"]); ref != nil {
		v.secret = true
		if ref["optional"] != true {
			l.needSecret(o, v.field, text(ref["name"]), text(ref["key"]))
		}
	}
}

// settings checks a container's variables against what its program reads.
func (l *linter) settings(p pod, c container, s Service) {
	seen := make(map[string]variable)
	given := make(map[string]bool)
	for _, v := range l.variables(p, c) {
		if strings.HasPrefix(v.name, s.Prefix()) {
			if earlier, twice := seen[v.name]; twice && earlier.field != v.field {
				l.fault(p.owner, v.field, v.name+" is given twice, in "+earlier.field+" as well", "keep one")
			}
			seen[v.name] = v
		}
		base, known := settingOf(s.Settings, v.name)
		given[base] = true
		if !known && !common(v.name) {
			l.fault(p.owner, v.field, v.name+" is no setting of "+s.Name, "see docs/operations.md for what there is")
		}
	}
	for _, name := range sorted(s.Settings) {
		if s.Settings[name].Required && !given[name] && c.needs(name) {
			l.fault(p.owner, c.field, name+" is required and not given", "give it by a ConfigMap, a Secret or env")
		}
	}
	l.mounted(p, c, seen)
	if len(list(c.at("args"))) == 0 {
		l.readable(p.owner, c, s, seen)
	}
}

// needs reports whether the container's command reads a setting: migrate and its like
// need the databases alone.
func (c container) needs(name string) bool {
	return len(list(c.at("args"))) == 0 || isDatabase(name)
}

// isDatabase tells the settings that name a database.
func isDatabase(name string) bool {
	return strings.HasSuffix(name, "_DATABASE_URL") || strings.HasSuffix(name, "_VAULT_URL")
}

// mounted checks that each path that a variable names is that of a mounted file.
func (l *linter) mounted(p pod, c container, variables map[string]variable) {
	for _, name := range sorted(variables) {
		v := variables[name]
		if v.secret || v.value == "" || !strings.HasSuffix(name, "_FILE") && !strings.HasSuffix(name, "_PATH") {
			continue
		}
		if !l.holds(p, c, v) {
			l.fault(p.owner, v.field, name+" names "+v.value+", which is in no mounted volume", "mount its Secret or ConfigMap there")
		}
	}
}

func (l *linter) holds(p pod, c container, v variable) bool {
	for _, mount := range list(c.at("volumeMounts")) {
		dir := text(at(mount, "mountPath"))
		file, below := strings.CutPrefix(v.value, strings.TrimSuffix(dir, "/")+"/")
		if sub := text(at(mount, "subPath")); v.value == dir && sub != "" {
			file, below = path.Base(sub), true
		}
		if !below {
			continue
		}
		for _, volume := range list(p.spec["volumes"]) {
			if text(at(volume, "name")) == text(at(mount, "name")) {
				l.inVolume(p.owner, volume, v, file)
				return true
			}
		}
	}
	return false
}

// inVolume reports a file that its volume will not hold.
func (l *linter) inVolume(o Object, volume any, v variable, file string) {
	sources := append(slices.Clone(list(at(volume, "projected", "sources"))), volume)
	known := false
	for _, source := range sources {
		secret := mapping(at(source, "secret"))
		if secret == nil {
			known = known || at(source, "csi") != nil || slices.Contains(tokenPaths(source), any(file))
			continue
		}
		name := text(secret["secretName"]) + text(secret["name"])
		files := make(map[string]bool)
		keys, _ := l.keysOf(name)
		for _, key := range keys {
			files[key] = true
		}
		if items := list(secret["items"]); len(items) > 0 {
			files = make(map[string]bool)
			for _, item := range items {
				files[text(at(item, "path"))] = true
			}
		}
		known = known || files[file]
	}
	for _, source := range sources {
		name := text(at(source, "configMap", "name"))
		_, in := mapping(Find(l.objects, "ConfigMap", name).at("data"))[file]
		known = known || in
	}
	if !known {
		l.fault(o, v.field, v.name+" names "+v.value+", and the volume "+text(at(volume, "name"))+" has no file "+file, "correct the path, or add the key to the Secret or ConfigMap")
	}
}

func tokenPaths(source any) []any { return []any{at(source, "serviceAccountToken", "path")} }
