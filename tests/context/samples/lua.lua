-- A stack.
local Stack = {}
Stack.__index = Stack

--[[ Makes one
     from a list. ]]
function Stack.new(list)
  local self = setmetatable({ items = {} }, Stack)
  for i, value in ipairs(list or {}) do
    self.items[i] = value
  end
  return self
end

function Stack:push(value, ...)
  if value == nil then
    error("nothing to push: " .. tostring(value))
  elseif type(value) == "table" then
    for _, v in pairs(value) do self:push(v) end
  else
    self.items[#self.items + 1] = value
  end
  return self
end

local text = [==[
long ]] text
]==]

local function each(stack, f)
  local i = #stack.items
  while i > 0 do
    f(stack.items[i])
    i = i - 1
  end
  repeat
    i = i + 1
  until i >= 3 or not text
end

each(Stack.new({ 1, 2, "three" }), function(x) print(x) end)
return Stack
