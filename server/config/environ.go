package config

import (
	"os"
	"regexp"
	"strings"
	"sync"

	"github.com/knadh/koanf/providers/env/v2"
)

// envFile names the configuration file; main reads it, so it is no key.
const envFile = EnvPrefix + "CONFIG"

// envOptions maps SHOAL_… variables to keys. A variable no key has is reported and left out.
func (l *loader) envOptions(environ []string) env.Opt {
	if environ == nil {
		environ = os.Environ()
	}
	return env.Opt{
		Prefix: EnvPrefix,
		EnvironFunc: func() []string {
			var pairs []string
			for _, pair := range environ {
				if strings.Contains(pair, "=") { // env.Provider expects a pair
					pairs = append(pairs, pair)
				}
			}
			return pairs
		},
		TransformFunc: func(name, value string) (string, any) {
			if i, ok := configSchema().byEnv[name]; ok {
				return configSchema().fields[i].key, value
			}
			if name != envFile && !kubernetes(name, value) {
				l.warn("environment", name, unknownEnvText(name))
			}
			return "", nil
		},
	}
}

// kubernetes says whether a variable is one that Kubernetes adds to every pod for a Service whose name begins with "shoal".
func kubernetes(name, value string) bool {
	return kubernetesName().MatchString(name) || strings.HasSuffix(name, "_PORT") && strings.Contains(value, "://")
}

// kubernetesName matches those that are told by their names; SHOAL_PORT=tcp://10.0.0.1:80 is not: SHOAL_GRPC_API_PORT=10000 looks alike.
var kubernetesName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`_(SERVICE_HOST|SERVICE_PORT(_.+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)
})

// unknownEnvText is the warning for a variable that is no key.
func unknownEnvText(name string) string {
	for _, known := range foreignKeys() {
		if name == envName(known.key) || known.section && strings.HasPrefix(name, envName(known.key)+"_") {
			return name + " is not supported yet and has no effect" + known.because()
		}
	}
	for _, f := range configSchema().fields {
		if closeTo(name, envName(f.key)) {
			return "unknown variable " + shorten(name) + ", did you mean " + envName(f.key) + "?"
		}
	}
	return "unknown variable " + shorten(name) + ": it has no effect; shoal help config lists the names"
}
