# Sourced by the parts that are a Kafka: where its jars are, and what every node of the suites has in common.

# Another one from 3.7 on can be named, to try the suites on it.
version="${LAKEGATE_TEST_KAFKA_VERSION:-4.3.1}"
lib="$cache/kafka/$version"

# run_java CLASS ARGUMENT...
run_java() { java -cp "$lib/jars/*" "$@"; }

fetch() {
  [ ! -e "$lib/complete" ] || [ ! -e "$lib/jars/kafka-tools-$version.jar" ] || return 0
  need mvn "install Maven (Debian: maven); Kafka's jars are fetched with it"
  mkdir -p "$lib"
  cat >"$lib/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>lakegate.test</groupId><artifactId>kafka</artifactId><version>1</version>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId><version>$version</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
POM
  say "fetching Kafka $version"
  mvn -q -B -f "$lib/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib/jars" -DincludeScope=runtime
  # Before 4.0 it brings another binding, which says nothing unless it is configured.
  rm -f "$lib"/jars/slf4j-reload4j-*.jar
  touch "$lib/complete"
}

# Few partitions of the internal topics, so that it starts quickly; no wait before the first rebalance.
node_settings() {
  cat <<CONF
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
log.dirs=$run/data
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
auto.create.topics.enable=false
CONF
}

# launch PROPERTIES FORMAT-ARGUMENT...: formats the storage, starts the node and waits for it.
launch() {
  local properties="$1" id
  shift
  id="$(run_java kafka.tools.StorageTool random-uuid 2>/dev/null)"
  run_java kafka.tools.StorageTool format -t "$id" -c "$properties" "$@" >"$run/log" 2>&1 || { cat "$run/log" >&2; fail "its storage cannot be formatted"; }
  run_node "$properties"
}

# run_node PROPERTIES: starts the node on what its storage holds, and waits for it.
run_node() {
  spawn "$1" java -Xmx512m -Xms256m -cp "$lib/jars/*" kafka.Kafka "$1"
  wait_for 90 grep -q "Kafka Server started" "$run/log"
}

again() { run_node "$run/server.properties"; }
