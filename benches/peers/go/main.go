// The program that calls a plugin through HashiCorp's go-plugin, over net/rpc and over gRPC, each with its defaults. It
// starts itself as the plugin. The benchmark writes one command a line and reads one line of nanoseconds:
//
//	call PROTOCOL COUNT         the duration of each of COUNT calls of Increment
//	text PROTOCOL COUNT LENGTH  the same for Echo, with a text of LENGTH bytes
//	start PROTOCOL              from the command until a new process of the plugin has answered a call
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
)

// The protocol with which a process serves as the plugin.
const serveVariable = "BENCH_SERVE"

var handshake = plugin.HandshakeConfig{
	ProtocolVersion:  1,
	MagicCookieKey:   "BENCH_PLUGIN",
	MagicCookieValue: "counter",
}

// Counter is the interface of the plugin.
type Counter interface {
	Increment(by uint64) (uint64, error)
	Echo(text string) (string, error)
}

type counter struct{}

func (counter) Increment(by uint64) (uint64, error) { return by + 1, nil }

func (counter) Echo(text string) (string, error) { return text, nil }

func plugins(protocol string) plugin.PluginSet {
	if protocol == "grpc" {
		return plugin.PluginSet{"counter": &grpcPlugin{}}
	}
	return plugin.PluginSet{"counter": &netPlugin{}}
}

func serve(protocol string) {
	config := &plugin.ServeConfig{
		HandshakeConfig: handshake,
		Plugins:         plugins(protocol),
		Logger:          hclog.NewNullLogger(),
	}
	if protocol == "grpc" {
		config.GRPCServer = plugin.DefaultGRPCServer
	}
	plugin.Serve(config)
}

// Starts the plugin in a new process.
func start(protocol string) (*plugin.Client, Counter, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	command := exec.Command(program)
	command.Env = append(os.Environ(), serveVariable+"="+protocol)
	client := plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  handshake,
		Plugins:          plugins(protocol),
		Cmd:              command,
		Managed:          true,
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolNetRPC, plugin.ProtocolGRPC},
		Logger:           hclog.NewNullLogger(),
	})
	connection, err := client.Client()
	if err != nil {
		client.Kill()
		return nil, nil, err
	}
	found, err := connection.Dispense("counter")
	if err != nil {
		client.Kill()
		return nil, nil, err
	}
	return client, found.(Counter), nil
}

// Measures calls, and checks their results.
func measure(count int, call func(number uint64) (bool, error)) ([]int64, error) {
	times := make([]int64, 0, count)
	for number := uint64(0); number < uint64(count); number++ {
		began := time.Now()
		right, err := call(number)
		times = append(times, time.Since(began).Nanoseconds())
		if err != nil {
			return nil, err
		}
		if !right {
			return nil, fmt.Errorf("the plugin answered something else")
		}
	}
	return times, nil
}

func increment(counter Counter) func(uint64) (bool, error) {
	return func(number uint64) (bool, error) {
		next, err := counter.Increment(number)
		return next == number+1, err
	}
}

func answer(line string, open map[string]Counter) ([]int64, error) {
	var command, protocol string
	var count, length int
	fmt.Sscan(line, &command, &protocol, &count, &length)
	if command == "start" {
		began := time.Now()
		client, counter, err := start(protocol)
		if err != nil {
			return nil, err
		}
		defer client.Kill()
		_, err = measure(1, increment(counter))
		return []int64{time.Since(began).Nanoseconds()}, err
	}
	if open[protocol] == nil {
		_, counter, err := start(protocol)
		if err != nil {
			return nil, err
		}
		open[protocol] = counter
	}
	switch command {
	case "call":
		return measure(count, increment(open[protocol]))
	case "text":
		text := strings.Repeat("x", length)
		return measure(count, func(uint64) (bool, error) {
			back, err := open[protocol].Echo(text)
			return len(back) == length, err
		})
	}
	return nil, fmt.Errorf("unknown command %q", command)
}

func main() {
	if protocol := os.Getenv(serveVariable); protocol != "" {
		serve(protocol)
		return
	}
	defer plugin.CleanupClients()
	open := map[string]Counter{}
	lines := bufio.NewScanner(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for lines.Scan() {
		times, err := answer(lines.Text(), open)
		if err != nil {
			fmt.Fprintln(out, "error:", err)
		} else {
			fmt.Fprintln(out, strings.Trim(fmt.Sprint(times), "[]"))
		}
		out.Flush()
	}
}
