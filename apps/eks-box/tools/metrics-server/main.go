// Command metrics-server is metrics-server 0.8 for the libraries of Kubernetes 1.35, which Kubernetes is built with.
// These libraries look up a type's schema by its OpenAPI name (io.k8s...), but metrics-server 0.8 lists its schemas by
// the paths of their Go packages (k8s.io/...). This program lists them by their OpenAPI names.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/pflag"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/component-base/logs"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/util"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/metrics-server/cmd/metrics-server/app/options"
)

func main() {
	logs.InitLogs()
	defer logs.FlushLogs()
	if err := run(os.Args); err != nil {
		logs.FlushLogs()
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	settings := options.NewOptions()
	flags := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	for _, set := range settings.Flags().FlagSets {
		flags.AddFlagSet(set)
	}
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	if errs := settings.Validate(); len(errs) > 0 {
		return errs[0]
	}
	config, err := settings.ServerConfig()
	if err != nil {
		return err
	}
	v2, v3 := config.Apiserver.OpenAPIConfig, config.Apiserver.OpenAPIV3Config
	v2.GetDefinitions = byOpenAPIName(v2.GetDefinitions)
	v3.GetDefinitions = byOpenAPIName(v3.GetDefinitions)
	v3.Definitions = v3.GetDefinitions(func(name string) spec.Ref {
		definition, _ := v3.GetDefinitionName(name)
		return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(definition))
	})
	server, err := config.Complete()
	if err != nil {
		return err
	}
	return server.RunUntil(genericapiserver.SetupSignalHandler())
}

// byOpenAPIName replaces the paths of Go packages by OpenAPI names: as keys, in dependencies and in references.
func byOpenAPIName(get common.GetOpenAPIDefinitions) common.GetOpenAPIDefinitions {
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		renamed := map[string]common.OpenAPIDefinition{}
		definitions := get(func(path string) spec.Ref { return ref(util.ToRESTFriendlyName(path)) })
		for path, definition := range definitions {
			for i, dependency := range definition.Dependencies {
				definition.Dependencies[i] = util.ToRESTFriendlyName(dependency)
			}
			renamed[util.ToRESTFriendlyName(path)] = definition
		}
		return renamed
	}
}
